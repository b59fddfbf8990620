"""An erasure says ahead what its receipt will say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from onrecord import ANY, CheckpointLog, Store
from onrecord.checkpoint_log import Listing, New
from onrecord.ledger.database.dialect import TABLES
from tests.test_erasure import learn, talk


def rows_in(store: Store) -> dict[str, int]:
    """What all tables hold."""
    counts = {table: f"SELECT count(*) FROM {{{table}}}" for table in TABLES}
    return store._ledger.read(
        lambda txn: {table: txn.rows(count, {})[0][0] for table, count in counts.items()}
    )


def test_a_dry_run_says_what_the_receipt_will_say(each_store: Callable[[], Store]) -> None:
    """Of each table, as the tables themselves say afterwards; and nothing has gone."""
    store = each_store()
    for tenant in ("", "acme"):
        for user in ("ada", "bob"):
            for key in ("one", "two"):
                session = store.session(key, user=user, tenant=tenant)
                session.append(talk(f"{tenant}/{user}/{key}", 8))
                session.state.put("plan", {"next": key})
            store.items("facts", user=user, tenant=tenant).put("city", "Lyon")
            log = CheckpointLog(store, user=user, tenant=tenant)
            item = ("json", b"1")
            log.put("graph", "", New("1", None, [item], {"all": Listing([item]), "step": item}))
            log.put_writes("graph", "", "1", "task", "", [(0, "channel", item)])
    store.session("one", user="ada").append(talk("longer", 600))
    store.index()
    before = rows_in(store)

    for would in (
        store.erase(user="ada", dry_run=True),
        asyncio.run(store.aerase(user="ada", dry_run=True)),
    ):
        assert rows_in(store) == before, "nothing has gone"
        assert would.dry_run
    of_one = store.session("two", user="ada").erase(dry_run=True)
    assert rows_in(store) == before
    gone = store.session("two", user="ada").erase()
    assert (of_one.scope, of_one.removed, of_one.left) == (gone.scope, gone.removed, gone.left)
    assert of_one.traces == gone.traces

    would = store.erase(user="ada", dry_run=True)
    receipt = store.erase(user="ada")
    assert not receipt.dry_run
    assert (would.scope, would.removed) == (receipt.scope, receipt.removed)
    assert (would.left, would.traces) == (receipt.left, receipt.traces) == (2, would.traces)
    assert {"onrecord_segments", "onrecord_tail", "onrecord_runs", "onrecord_items"} <= set(
        would.removed
    )
    quick = store.erase(tenant="acme", user=ANY, thorough=False, dry_run=True)
    assert "erase(thorough=True)" in (quick.traces or "")
    assert store.erase(tenant="acme", user=ANY, thorough=False).removed == quick.removed
    everybody = store.erase(tenant=ANY, user=ANY, agent=ANY, dry_run=True)
    assert (everybody.removed["onrecord_sessions"], everybody.left) == (2, 0)


def test_a_dry_run_names_what_cannot_be_told_apart(each_store: Callable[[], Store]) -> None:
    store = each_store()
    store.session("s", user="ada").append(talk("ada", 4))
    learn(store, 1)
    would = store.erase(user="ada", dry_run=True)
    assert "that were handed to train()" in (would.traces or "")
    assert would.traces == store.erase(user="ada").traces
