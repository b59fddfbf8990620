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
    "tail-sql-postgres": f"Why: {_MESSAGES} The statement finds the session and its newest messages at one moment, in thirteen columns, which is 30 µs more than the one column of the bare query. Some 60 are the way there: a connection of the pool that is known to be alive, a time limit, the flow.",
    "tail-redis": f"Why: {_MESSAGES} Redis takes some 45 µs more than for LRANGE: it runs a script, which says in the same step whether what it holds may be believed (which run of the server wrote it, whether anybody is writing, how old it is, its checksum). To check 20 rows and to take them apart is 15 µs. OpenAI's session asks for LRANGE alone: behind it is no database that could have gone on. And 1,000 × beside LangChain's Redis history would be about as quick as the bare LRANGE itself. A process that has read the session before is sent only what is new.",
    "tail-process": f"Why: {_MESSAGES} Beyond that, the file is asked whether anybody has committed, which is 2 µs. Nothing is handed out twice, so messages are built anew each time.",
    "read-llama-index": "Why: of 61 ms the constructing of ChatMessages is 23, decoding 10, and 7 the reading of rows; the limit has the first two. The rest is Python between them, and garbage collections that two lists of 10,000 bring on.",
    "read-llama-index-postgres": "Why: as on SQLite; and LlamaIndex's PostgresChatStore keeps a conversation as one value, which is quick to read whole and has to be written whole at each append.",
    "read-neutral": "Why: OpenAI's sessions hand out the JSON they were given, as dicts; ours are decoded into `Message`s, whose constructing alone takes as long as that. Beside LangChain's and LlamaIndex's it is 4 times and more.",
    "read-neutral-postgres": "Why: as on SQLite.",
    "agent-turn": "Why: 15 ms are the agent's own, whatever its memory. It asks for its history four times a turn, and each time 1,000 new ChatMessages are made, since it changes what it gets: 7 ms, and 4 of garbage collection. Four durable appends are 3 ms. With texts of 567 bytes it is 7 times: the peer counts tokens by the text.",
    "size-sqlite": "Why: the best of the peers is OpenAI's SQLiteSession, whose file is a fifth smaller than that of LangChain's history; beside the latter it is 24.0 and 22.9 %. Of our 915 kB the messages are 667, in 891 segments: half of the conversations have three messages at most, and what is short compresses badly. Sessions are 114 and their indexes 65, 205 bytes a session. The rest, 70, is as much in a store of a gigabyte: the text of the tables, and a page of 1 kB for each of some fifty tables and indexes with nothing in them. Three things were bought with 77 kB since a file was 839. Reads by time skip what is outside of it, by two times a segment (21). A cache is never stale, by two numbers of 8 bytes a session (20). What is unfinished is listed by an index (8). The other 28 are tables and indexes of items, feeds, search and lists by scope. Pages of 512 bytes would take 35 away, and an append would take a tenth longer; of 4,096 they would add 166. To compress at level 19 instead of 17 would take 6 away, for five times the work.",
    "size-postgres": "Why: LlamaIndex's PostgresChatStore keeps a conversation as one value, which PostgreSQL compresses itself: the smallest there is, and written whole at each append. Beside LangChain's history ours is 28.9 and 31.6 %. On the half, sessions and their four indexes are 256 of 632 kB, which no dictionary touches, and each table and index begins with pages of its own: what weighs in a store of two megabytes does not in one of a gigabyte.",
    "memory": "Why: what is read by `tail()` is kept in the process, 8 kB a session and at most 64 MB, so that the next read needs no database. Read by `messages()`, which keeps nothing, or through LangChain it is less than any peer's.",
    "memory-preferences-sqlite": "Why: beside the append itself one new turn takes three commits: what is handed out is held, what is learned is written with the version up to which it was, and the feed is told. The rest is 2 ms of Python and statements. Where a commit takes 1 ms it is under 5 ms, where it waits longer for a disk it is not.",
    "memory-preferences-postgres": "Why: as on SQLite; and some 19 statements and four commits are a round trip each.",
}
