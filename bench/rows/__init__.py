"""The rows, in the order in which they are printed. Each is a function of the place it runs in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.measuring import Row
from bench.place import Place
from bench.rows import (
    appending,
    graphs,
    items,
    listing,
    memory_buffer,
    memory_learned,
    postgres,
    process,
    reading,
    search,
    sizes,
    tails,
    together,
    turns,
)

ROWS: Final[dict[str, Callable[[Place], Row]]] = {
    "append-sqlite": appending.on_sqlite,
    "append-lengths": appending.however_long,
    "append-postgres": postgres.by_one,
    "together-sqlite": together.on_sqlite,
    "together-postgres": postgres.by_many,
    "tail-sql": tails.cold_sqlite,
    "tail-sql-postgres": tails.cold_postgres,
    "tail-redis": tails.hot_redis,
    "tail-process": tails.hot_process,
    "read-langchain": reading.as_langchain,
    "read-langchain-postgres": reading.as_langchain_postgres,
    "read-llama-index": reading.as_llama_index,
    "read-llama-index-postgres": reading.as_llama_index_postgres,
    "read-neutral": reading.as_neutral,
    "read-neutral-postgres": reading.as_neutral_postgres,
    "chain-turn": turns.of_a_chain,
    "agent-turn": turns.of_an_agent,
    "size-sqlite": sizes.on_sqlite,
    "size-postgres": sizes.on_postgres,
    "graph-size": graphs.size,
    "graph-written": graphs.log,
    "graph-time": graphs.time,
    "list-sessions": listing.by_metadata,
    "item-put-sqlite": items.put_sqlite,
    "item-get-sqlite": items.get_sqlite,
    "item-put-postgres": items.put_postgres,
    "item-get-postgres": items.get_postgres,
    "item-get-redis": items.get_redis,
    "item-append-sqlite": items.in_an_append_sqlite,
    "item-append-postgres": items.in_an_append_postgres,
    "item-many-sqlite": items.many_sqlite,
    "item-many-postgres": items.many_postgres,
    "item-among-sqlite": items.among_sqlite,
    "item-among-postgres": items.among_postgres,
    "buffer-read": memory_buffer.read,
    "buffer-persist": memory_buffer.persist,
    "buffer-agents": memory_buffer.agents,
    "buffer-support": memory_buffer.support,
    "search-time": search.quickly,
    "search-quality": search.well,
    "memory-preferences-sqlite": memory_learned.preferences_sqlite,
    "memory-preferences-postgres": memory_learned.preferences_postgres,
    "memory-analytics-sqlite": memory_learned.analytics_sqlite,
    "memory-analytics-postgres": memory_learned.analytics_postgres,
    "memory": process.memory,
    "open": process.first_read,
}
