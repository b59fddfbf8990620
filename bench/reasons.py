"""Why a target is missed: what was found by profiling, by row. Shown where it is missed."""

from __future__ import annotations

from typing import Final

_MESSAGES: Final = "The bare query brings bytes; ours brings messages. To decode 20 frames takes 17 µs, and to put id, time, place and tokens into each another 15."

REASONS: Final[dict[str, str]] = {
    "append-sqlite": "Why: an append takes some 45 µs of Python (to check and encode the message, to hand it to the writer, to build what is given back) beyond what bare `sqlite3` does, however fast the disk is. Where a commit takes longer than 150 µs that is less than a third of it.",
    "append-postgres": "Why: to what the bare statement takes come some 90 µs, of Python and of a second index. langchain-postgres inserts a row and commits, and keeps no order; the bare statement is only 1.7 times as fast as that.",
    "together-sqlite": "Why: 64 threads share one interpreter lock, and spend more time waiting for it than for the disk; tasks do not, and are nearly twice as fast.",
    "together-postgres": "Why: 64 threads share one interpreter lock with psycopg's own work. The ratio to the bare statement was 0.71 to 1.18 in runs on this machine.",
    "tail-sql": f"Why: {_MESSAGES}",
    "tail-sql-postgres": f"Why: {_MESSAGES}",
    "tail-redis": f"Why: {_MESSAGES} And 1,000 × beside LangChain's Redis history would be about as quick as the bare LRANGE itself. A process that has read the session before is sent only what is new.",
    "tail-process": f"Why: {_MESSAGES} Beyond that, the file is asked whether anybody has committed, which is 2 µs. Nothing is handed out twice, so messages are built anew each time.",
    "read-llama-index": "Why: of 61 ms the constructing of ChatMessages is 23, decoding 10, and 7 the reading of rows; the limit has the first two. The rest is Python between them, and garbage collections that two lists of 10,000 bring on.",
    "read-llama-index-postgres": "Why: as on SQLite; and LlamaIndex's PostgresChatStore keeps a conversation as one value, which is quick to read whole and has to be written whole at each append.",
    "read-neutral": "Why: OpenAI's sessions hand out the JSON they were given, as dicts; ours are decoded into `Message`s, whose constructing alone takes as long as that. Beside LangChain's and LlamaIndex's it is 4 times and more.",
    "read-neutral-postgres": "Why: as on SQLite.",
    "agent-turn": "Why: 15 ms are the agent's own, whatever its memory. It asks for its history four times a turn, and each time 1,000 new ChatMessages are made, since it changes what it gets: 7 ms, and 4 of garbage collection. Four durable appends are 3 ms. With texts of 567 bytes it is 7 times: the peer counts tokens by the text.",
    "size-sqlite": "Why: the best of the peers is OpenAI's SQLiteSession, whose file is a fifth smaller than that of LangChain's history. Beside the latter it is 22.0 and 19.9 %. Of our file four fifths are the messages, and one fifth the sessions with three indexes.",
    "size-postgres": "Why: LlamaIndex's PostgresChatStore keeps a conversation as one value, which PostgreSQL compresses itself: the smallest there is, and written whole at each append. Beside LangChain's history ours is 28.9 and 31.6 %. On the half, sessions and their four indexes are 256 of 632 kB, which no dictionary touches, and each table and index begins with pages of its own: what weighs in a store of two megabytes does not in one of a gigabyte.",
    "memory": "Why: what is read by `tail()` is kept in the process, 8 kB a session and at most 64 MB, so that the next read needs no database. Read by `messages()`, which keeps nothing, or through LangChain it is less than any peer's.",
    "memory-preferences-sqlite": "Why: beside the append itself one new turn takes three commits: what is handed out is held, what is learned is written with the version up to which it was, and the feed is told. The rest is 2 ms of Python and statements. Where a commit takes 1 ms it is under 5 ms, where it waits longer for a disk it is not.",
    "memory-preferences-postgres": "Why: as on SQLite; and some 19 statements and four commits are a round trip each.",
}
