"""Every flow that a store can be asked for, in one list: the way from a method to its flow."""

from onrecord.flows.checkpoints.reading import (
    fill_states,
    namespaces,
    page_of_checkpoints,
    read_entry,
    read_state,
)
from onrecord.flows.checkpoints.threads import (
    describe_thread,
    list_threads,
    prune_expired,
    put_checkpoint,
    update_thread,
)
from onrecord.flows.checkpoints.writing import (
    checkpoints_of_runs,
    copy_thread,
    delete_thread,
    drop_checkpoints,
    put_writes,
)
from onrecord.flows.feed.reading import (
    count_behind,
    finish_changes,
    forget_feed,
    list_feeds,
    read_feed,
)
from onrecord.flows.items.reading import (
    count_items,
    find_items,
    get_item,
    get_items,
    list_items,
    list_namespaces,
)
from onrecord.flows.items.writing import (
    clear_items,
    delete_item,
    delete_items,
    merge_item,
    put_item,
    put_items,
    sweep_items,
    write_items,
)
from onrecord.flows.maintenance.backup import backup
from onrecord.flows.maintenance.compact import compact
from onrecord.flows.maintenance.distribute import distribute
from onrecord.flows.maintenance.doctor.doctor import doctor
from onrecord.flows.maintenance.doctor.rounds import Examined
from onrecord.flows.maintenance.erase import erase, erase_session
from onrecord.flows.maintenance.health import (
    cache_health,
    database_health,
    index_behind,
    replica_health,
)
from onrecord.flows.maintenance.index import embed_all, index
from onrecord.flows.maintenance.maintain import maintain
from onrecord.flows.maintenance.prune import prune
from onrecord.flows.maintenance.stats import stats
from onrecord.flows.maintenance.train import train
from onrecord.flows.maintenance.transfer import export, export_session, import_
from onrecord.flows.maintenance.verify import verify
from onrecord.flows.search.items import embed_items, search_items
from onrecord.flows.search.recall import recall
from onrecord.flows.search.search import search
from onrecord.flows.sessions.append import append
from onrecord.flows.sessions.archive import archive, unarchive
from onrecord.flows.sessions.create import create
from onrecord.flows.sessions.exchange import exchange
from onrecord.flows.sessions.fork import fork
from onrecord.flows.sessions.read import (
    count,
    info,
    list_sessions,
    messages,
    scan_page,
    tail,
    version,
    window,
)
from onrecord.flows.sessions.replace import replace
from onrecord.flows.sessions.rewrite import delete, edit, pop, rewind, update
from onrecord.flows.sessions.unfinished import list_unfinished
from onrecord.flows.turns.holding import Held as TurnOf
from onrecord.flows.turns.holding import Lease as TurnLease
from onrecord.flows.turns.holding import hold, let_go, renew, under, while_held

__all__ = [
    "Examined",
    "TurnLease",
    "TurnOf",
    "append",
    "archive",
    "backup",
    "cache_health",
    "checkpoints_of_runs",
    "clear_items",
    "compact",
    "copy_thread",
    "count",
    "count_behind",
    "count_items",
    "create",
    "database_health",
    "delete",
    "delete_item",
    "delete_items",
    "delete_thread",
    "describe_thread",
    "distribute",
    "doctor",
    "drop_checkpoints",
    "edit",
    "embed_all",
    "embed_items",
    "erase",
    "erase_session",
    "exchange",
    "export",
    "export_session",
    "fill_states",
    "find_items",
    "finish_changes",
    "forget_feed",
    "fork",
    "get_item",
    "get_items",
    "hold",
    "import_",
    "index",
    "index_behind",
    "info",
    "let_go",
    "list_feeds",
    "list_items",
    "list_namespaces",
    "list_sessions",
    "list_threads",
    "list_unfinished",
    "maintain",
    "merge_item",
    "messages",
    "namespaces",
    "page_of_checkpoints",
    "pop",
    "prune",
    "prune_expired",
    "put_checkpoint",
    "put_item",
    "put_items",
    "put_writes",
    "read_entry",
    "read_feed",
    "read_state",
    "recall",
    "renew",
    "replace",
    "replica_health",
    "rewind",
    "scan_page",
    "search",
    "search_items",
    "stats",
    "sweep_items",
    "tail",
    "train",
    "unarchive",
    "under",
    "update",
    "update_thread",
    "verify",
    "version",
    "while_held",
    "window",
    "write_items",
]
