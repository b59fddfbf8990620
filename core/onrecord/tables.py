"""The tables, as SQLAlchemy metadata: to join one's own data with, to chart, to look things up.

    from onrecord import tables
    select(tables.sessions.c.key, tables.sessions.c.messages)
    tables.tail.join(tables.sessions, tables.tail.c.session == tables.sessions.c.id)

They are declared here and nowhere else: the SQL that makes them, and docs/reference/tables.md, are
written from this file by ``python -m scripts.tables``. These have what both databases have;
``declared`` adds the keys of one of them: on PostgreSQL a shard, on SQLite a place.

Read them as you like, and write through a store: it keeps counts, the cache and what was learned
in step. Where a store has ``schema=``, take ``schema_translate_map={None: schema}``.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata: Final = MetaData()

_ROWID: Final = BigInteger().with_variant(Integer(), "sqlite")
"""A key of SQLite's own, which is an INTEGER by that very name."""
STORED: Final = "stored"
"""How PostgreSQL is told to store a table. SQLAlchemy has had a word for it since 2.1 only."""
_FILLED: Final = {STORED: {"fillfactor": 80}}
"""Room on each page, so that moving a head stays on its page and touches no index."""


def _column(name: str, kind: Any, comment: str, *, null: bool = False, **more: Any) -> Column[Any]:
    return Column(name, kind, nullable=null, comment=comment, **more)


def _spent(name: str, comment: str) -> Column[Any]:
    return _column(name, BigInteger, comment, server_default=text("0"))


def _number(comment: str, name: str = "id") -> Column[Any]:
    """A key that the database makes, and never twice."""
    return Column(name, _ROWID, Identity(always=True), primary_key=True, comment=comment)


def _key(name: str, comment: str, kind: Any = _ROWID) -> Column[Any]:
    return Column(name, kind, primary_key=True, autoincrement=False, comment=comment)


def _in_order(owner: str, whose: str, number: str, which: str) -> tuple[Column[Any], Column[Any]]:
    """The two columns by which rows of one owner stand in their order."""
    return _key(owner, whose, BigInteger), _key(number, which, BigInteger)


def _lists(table: Table) -> None:
    """The indexes by which those of a scope are listed, in the order of their periods. Who names
    no tenant and no agent pays nothing for those that need one."""
    period, number = table.c.active_period, table.c.id
    agent, tenant = table.c.agent, table.c.tenant
    for name, columns, where in (
        ("owner", (table.c.owner,), None),
        ("activity", (), None),
        ("tenant", (tenant,), "tenant <> ''"),
        ("agent", (agent,), "agent <> ''"),
        ("owner_agent", (table.c.owner, agent), "agent <> ''"),
        ("tenant_agent", (tenant, agent), "tenant <> '' AND agent <> ''"),
    ):
        some: Any = {}
        if where is not None:
            some = {"sqlite_where": text(where), "postgresql_where": text(where)}
        Index(f"{table.name}_by_{name}", *columns, period, number, **some)


_IN_ORDER: Final = {"sharded": True, "in_order": True}
"""Of a table with rows in an order: on SQLite owner and order are one number."""
_SHARDED: Final = {"sharded": True}
"""Of a table: on PostgreSQL its unique keys end with the shard. Not with it in front: the planner
took an index by the shard alone where it had no statistics, and people's own joins know of none."""


def _names() -> tuple[Column[Any], ...]:
    return (
        _column("tenant", Text, "Of its full name."),
        _column("user", Text, "Of its full name."),
        _column("agent", Text, "Of its full name."),
        _column("key", Text, "Of its full name."),
    )


sessions: Final = Table(
    "onrecord_sessions",
    metadata,
    _number("What its messages name it by."),
    _column("identity", LargeBinary, "A digest of its four names: scope.py.", unique=True),
    _column("owner", BigInteger, "A digest of tenant, user and agent, to list by."),
    _column("epoch", BigInteger, "How often it was rewritten."),
    _column("cut_epoch", BigInteger, "Its epoch at the last clear or rewind."),
    _column("head", BigInteger, "The sequence of its newest message, 0 for none."),
    _column("messages", BigInteger, "How many there are; deleted ones do not count."),
    _column("turns", BigInteger, "How many of them open a turn."),
    _column("tokens", BigInteger, "Of all messages, as the store's counter has it."),
    _spent("input_tokens", "Sent to models, as its messages said: those that are gone too."),
    _spent("output_tokens", "Answered by models; never less than before, as these four are."),
    _spent("cached_tokens", "Of the input, out of a provider's cache."),
    _spent("requests", "How many answers said so."),
    _column("created", BigInteger, "Microseconds since 1970."),
    _column("last_active", BigInteger, "Microseconds since 1970."),
    _column(
        "active_period",
        BigInteger,
        "last_active in periods of 512 seconds: an index on the exact time would be rewritten by "
        "every append, which costs PostgreSQL a third of the appends a second.",
    ),
    _column(
        "refused",
        BigInteger,
        "The token of an append whose answer was lost and which was done again: should the first "
        "attempt still arrive, it is refused by it.",
        null=True,
    ),
    *_names(),
    _column("about", LargeBinary, "Title and metadata, encoded.", null=True),
    _column("archived", LargeBinary, "Ranges of sequences that are archived.", null=True),
    _column("sealed", BigInteger, "Messages up to here are in segments.", server_default=text("0")),
    _column("sealed_at", BigInteger, "The second in which that was last done.", null=True),
    _column(
        "expires_in",
        BigInteger,
        "Microseconds from the last activity after which prune() may take it; NULL for the "
        "store's setting.",
        null=True,
    ),
    _column(
        "fence",
        BigInteger,
        "Random, moved by whoever settles what a cache holds of the session: a commit goes through "
        "only under the fence that its mark was told.",
        server_default=text("0"),
    ),
    _column(
        "lineage",
        BigInteger,
        "Random, left by the last write; the rows of an append have it as their token.",
        server_default=text("0"),
    ),
    _column(
        "waits",
        SmallInteger,
        "1 where its newest message waits for an answer or a result.",
        server_default=text("0"),
    ),
    _column(
        "maybe_open",
        SmallInteger,
        "1 where it waits or a turn holds it, and for some time after: unfinished sessions are "
        "looked for among these. It goes back to 0 when the period moves, which indexes have to "
        "be told anyway.",
        server_default=text("0"),
    ),
    _column("held_until", BigInteger, "Until when a turn holds it.", null=True),
    _column("holder", LargeBinary, "Which turn does.", null=True),
    sqlite_autoincrement=True,
    info={**_SHARDED, **_FILLED},
    comment="Conversations.",
)
_lists(sessions)
# When a session that says itself how long it lasts is due, in seconds. Not as a whole number, which
# a damaged one would overflow. It has no column that an append would have to keep right.
Index(
    "onrecord_sessions_by_expiry",
    text("(CAST(active_period AS DOUBLE PRECISION) * 512 + expires_in / 1000000)"),
    sessions.c.id,
    sqlite_where=text("expires_in IS NOT NULL"),
    postgresql_where=text("expires_in IS NOT NULL"),
)
Index(
    "onrecord_sessions_by_maybe_open",
    sessions.c.owner,
    sessions.c.id,
    sqlite_where=text("maybe_open = 1"),
    postgresql_where=text("maybe_open = 1"),
)

tail: Final = Table(
    "onrecord_tail",
    metadata,
    *_in_order("session", "The session's id.", "seq", "Its sequence: 1 for the first message."),
    _column("created", BigInteger, "Microseconds since 1970."),
    _column("token", BigInteger, "Of the append that wrote it; 0 where none is known."),
    _column("epoch", Integer, "The session's epoch in which it was written."),
    _column("tokens", Integer, "Of the message, as its counter has it."),
    _column("counter", SmallInteger, "Who counted: onrecord_counters."),
    _column("opens_turn", SmallInteger, "1 where a turn begins."),
    _column("frame", LargeBinary, "The message, encoded; NULL where it was deleted.", null=True),
    _column("raw", Integer, "Bytes before compression; NULL: it is not compressed.", null=True),
    _column("dictionary", SmallInteger, "What it was compressed with.", null=True),
    _column("id", Text, "The message's id, where the caller gave one.", null=True),
    comment="The newest messages of each session, a row each. Older ones are in segments.",
    info=_IN_ORDER,
)
Index(
    "onrecord_tail_by_id",
    tail.c.session,
    tail.c.id,
    unique=True,
    sqlite_where=text("id IS NOT NULL"),
    postgresql_where=text("id IS NOT NULL"),
)

segments: Final = Table(
    "onrecord_segments",
    metadata,
    *_in_order(
        "session",
        "The session's id.",
        "seq",
        "Its last sequence: a message is in the first segment from there on.",
    ),
    _column("first", BigInteger, "Its first sequence."),
    _column("messages", Integer, "How many there are in it; deleted ones do not count."),
    _column("turns", Integer, "How many of them open a turn."),
    _column("tokens", BigInteger, "Of all of them."),
    _column(
        "created_min",
        BigInteger,
        "The earliest time in it, in microseconds since 1970; deleted messages keep theirs.",
    ),
    _column("created_max", BigInteger, "The latest time in it."),
    _column("raw", BigInteger, "Bytes before compression."),
    _column("dictionary", SmallInteger, "What it was compressed with.", null=True),
    _column("body", LargeBinary, "The messages, sealed together."),
    info={**_IN_ORDER, STORED: {"toast_tuple_target": 8160}},
    comment="Runs of messages, compressed together.",
)

runs: Final = Table(
    "onrecord_runs",
    metadata,
    *_in_order("session", "The session's id.", "seq", "Its first sequence: 1, 17, 33 and so on."),
    _column("upto", BigInteger, "Its last sequence that was there when it was indexed."),
    _column("analyser", SmallInteger, "The version of what made terms of the words."),
    _column("terms", LargeBinary, "Hashes of the terms in its messages, two bytes each, sorted."),
    info=_IN_ORDER,
    comment="An index of what was said, by runs of 16 places: search is only slower without it.",
)

embedders: Final = Table(
    "onrecord_embedders",
    metadata,
    _key("id", "What vectors name it by.", Integer),
    _column("identity", LargeBinary, "Of its name, and of what it makes of a few sentences."),
    _column("name", Text, "As it was given."),
    _column("dimensions", Integer, "How many numbers its vectors have."),
    _column("created", BigInteger, "Microseconds since 1970."),
    comment="Who made vectors of messages: those of two are never compared.",
)

vectors: Final = Table(
    "onrecord_vectors",
    metadata,
    _key("session", "The session's id.", BigInteger),
    _key("embedder", "Who made them.", Integer),
    _key("seq", "The first sequence of their run: 1, 17, 33 and so on.", BigInteger),
    _column("upto", BigInteger, "Its last sequence that was there when they were made."),
    _column("body", LargeBinary, "A bit a dimension, place by place; zeros where nobody spoke."),
    sqlite_with_rowid=False,
    info=_SHARDED,
    comment="What messages mean, by runs of 16 places: made of them, and never without them.",
)

pairs: Final = Table(
    "onrecord_pairs",
    metadata,
    _key("session", "The session's id.", BigInteger),
    _key("pair", "A digest of a key of its metadata and what that has.", BigInteger),
    _column("owner", BigInteger, "The session's."),
    sqlite_with_rowid=False,
    info=_SHARDED,
    comment="What sessions have in their metadata, to list them by.",
)
Index("onrecord_pairs_by_pair", pairs.c.pair, pairs.c.owner, pairs.c.session)

dictionaries: Final = Table(
    "onrecord_dictionaries",
    metadata,
    _key("id", "What frames and segments name it by.", Integer),
    _column("in_use", SmallInteger, "0 while what needs it is being rewritten without it."),
    _column("created", BigInteger, "Microseconds since 1970."),
    _column("sources", LargeBinary, "The sessions that it was learned from."),
    _column("body", LargeBinary, "The dictionary, compressed."),
    comment="What train() has learned.",
)

erased: Final = Table(
    "onrecord_erased",
    metadata,
    _key("identity", "The session's, hashed again with the store's id.", LargeBinary),
    _column("session", BigInteger, "The number it had, and has again if it is written to."),
    _column("epoch", BigInteger, "The epoch from which it goes on then."),
    _column("at", BigInteger, "The second in which it was erased."),
    comment="What is left of sessions that were erased: enough to know late writers by.",
)

namespaces: Final = Table(
    "onrecord_namespaces",
    metadata,
    _number("What its items name it by."),
    _column("identity", LargeBinary, "A digest of its scope and its parts: scope.py.", unique=True),
    _column("owner", BigInteger, "A digest of tenant and user, to list by."),
    _column(
        "version", BigInteger, "Of the last write in it: the clock's time, or the next number."
    ),
    _column("tenant", Text, "Of its scope."),
    _column("user", Text, "Of its scope."),
    _column("agent", Text, "Of its scope."),
    _column(
        "path",
        LargeBinary,
        "Its parts, each in UTF-8 with a NUL behind it; of a state an empty one, and the key.",
    ),
    sqlite_autoincrement=True,
    info={**_SHARDED, **_FILLED},
    comment="Namespaces of items, and the states of sessions.",
)
Index("onrecord_namespaces_by_owner", namespaces.c.owner, namespaces.c.path, namespaces.c.id)

_BY_BYTES: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Text in the order of its bytes, which is the order in every database and in Python."""

items: Final = Table(
    "onrecord_items",
    metadata,
    _key("namespace", "The namespace's id.", BigInteger),
    _key("key", "What it is found by there.", _BY_BYTES),
    _column("version", BigInteger, "The namespace's, at its last write."),
    _column("created", BigInteger, "Microseconds since 1970."),
    _column("updated", BigInteger, "Microseconds since 1970."),
    _column("expires_at", BigInteger, "From when on it is not there any more.", null=True),
    _column("ttl", BigInteger, "Microseconds that a write or a refresh adds.", null=True),
    _column("token", Text, "A revision that its writer made up.", null=True),
    _column("fence", BigInteger, "Random: whoever marks the item in a cache commits under it."),
    _column("embedder", Integer, "Who made its vector.", null=True),
    _column("meant", BigInteger, "The version that the vector was made of.", null=True),
    _column("body", LargeBinary, "The value, and a text to find it by, encoded."),
    _column("meaning", LargeBinary, "A bit a dimension of what it means.", null=True),
    sqlite_with_rowid=False,
    info=_SHARDED,
    comment="Items: values under keys.",
)
Index("onrecord_items_by_version", items.c.namespace, items.c.version)
Index(
    "onrecord_items_by_expiry",
    items.c.expires_at,
    sqlite_where=text("expires_at IS NOT NULL"),
    postgresql_where=text("expires_at IS NOT NULL"),
)
Index(
    "onrecord_items_by_namespace_expiry",
    items.c.namespace,
    items.c.expires_at,
    sqlite_where=text("expires_at IS NOT NULL"),
    postgresql_where=text("expires_at IS NOT NULL"),
)

checkpoint_threads: Final = Table(
    "onrecord_checkpoint_threads",
    metadata,
    _number("What its lists name it by."),
    _column("identity", LargeBinary, "A digest of its four names: scope.py.", unique=True),
    _column("owner", BigInteger, "A digest of tenant, user and agent, to list by."),
    _column("live", SmallInteger, "0 where it was deleted: its row stays, without its names."),
    _column("epoch", BigInteger, "Moves whenever something is taken away."),
    _column("created", BigInteger, "Microseconds since 1970."),
    _column("last_active", BigInteger, "Microseconds since 1970."),
    _column("active_period", BigInteger, "last_active in periods of 512 seconds."),
    _column("expires_in", BigInteger, "Microseconds without activity; NULL: never.", null=True),
    _column("held_until", BigInteger, "Until when a turn holds it.", null=True),
    _column("holder", LargeBinary, "Which turn does.", null=True),
    *_names(),
    _column("about", LargeBinary, "Title and metadata, encoded.", null=True),
    _column(
        "deleted_ids",
        LargeBinary,
        "Digests of checkpoints that were deleted: who still writes to them is late.",
        null=True,
    ),
    sqlite_autoincrement=True,
    info={**_SHARDED, **_FILLED},
    comment="Threads of graphs.",
)
_lists(checkpoint_threads)

checkpoint_lists: Final = Table(
    "onrecord_checkpoint_lists",
    metadata,
    _number("What stands in it names it by."),
    _column("thread", BigInteger, "The thread it belongs to."),
    _column("head", BigInteger, "The number of the newest in it."),
    _column("name", LargeBinary, "A namespace, or a namespace and a channel."),
    sqlite_autoincrement=True,
    info={**_SHARDED, **_FILLED},
    comment="What is numbered as it comes: the checkpoints of a namespace, the items of a channel.",
)
Index(
    "onrecord_checkpoint_lists_by_name",
    checkpoint_lists.c.thread,
    checkpoint_lists.c.name,
    unique=True,
)

checkpoints: Final = Table(
    "onrecord_checkpoints",
    metadata,
    *_in_order("list", "Of its namespace.", "number", "In the order of commits."),
    _column("id", LargeBinary, "NULL where only values are left that later ones use.", null=True),
    _column("parent", LargeBinary, "The id it continues from.", null=True),
    _column("run", LargeBinary, "A digest of the run that made it.", null=True),
    _column("refs", LargeBinary, "Where its channels' values stand.", null=True),
    _column("body", LargeBinary, "What there is to it besides its channels.", null=True),
    _column("new_values", LargeBinary, "The values that are new in it.", null=True),
    info=_IN_ORDER,
    comment="Checkpoints, each as what it adds.",
)
Index(
    "onrecord_checkpoints_by_id",
    checkpoints.c.list,
    checkpoints.c.id,
    unique=True,
    sqlite_where=text("id IS NOT NULL"),
    postgresql_where=text("id IS NOT NULL"),
)
Index(
    "onrecord_checkpoints_by_run",
    checkpoints.c.run,
    sqlite_where=text("run IS NOT NULL"),
    postgresql_where=text("run IS NOT NULL"),
)

checkpoint_items: Final = Table(
    "onrecord_checkpoint_items",
    metadata,
    *_in_order("list", "Of its channel.", "number", "Of the last item in the row."),
    _column("items", Integer, "How many there are in it."),
    _column("body", LargeBinary, "The items, compressed together."),
    info=_IN_ORDER,
    comment="Items of list-valued channels, kept once for all checkpoints.",
)

checkpoint_writes: Final = Table(
    "onrecord_checkpoint_writes",
    metadata,
    Column(
        "number",
        _ROWID,
        Identity(always=True),
        primary_key=True,
        comment="In the order in which they came.",
    ),
    _column("list", BigInteger, "The checkpoints it belongs to."),
    _column("id", LargeBinary, "The checkpoint before it, which may come later."),
    _column("body", LargeBinary, "What a task has written, encoded."),
    info=_SHARDED,
    comment="What tasks have written towards the next checkpoint.",
)
Index(
    "onrecord_checkpoint_writes_by_id",
    checkpoint_writes.c.list,
    checkpoint_writes.c.id,
)

feeds: Final = Table(
    "onrecord_feeds",
    metadata,
    _number("What its positions name it by."),
    _column("identity", LargeBinary, "A hash of its name and its scope: scope.py.", unique=True),
    _column("name", Text, "What its readers call it."),
    _column("named", SmallInteger, "0 where the names of its scope were erased."),
    _column("tenant", Text, "Of its scope; NULL for every one.", null=True),
    _column("user", Text, "Of its scope; NULL for every one.", null=True),
    _column("agent", Text, "Of its scope; NULL for every one.", null=True),
    _column("second", BigInteger, "Sessions last active up to here were looked at,"),
    _column("session", BigInteger, "and of those in that second up to this one."),
    _column("newest", BigInteger, "The highest number of a session that was looked at."),
    _column("swept_second", BigInteger, "As second, of the going over all sessions,"),
    _column("swept_session", BigInteger, "and as session."),
    _column("swept_at", BigInteger, "When that was last done, in microseconds since 1970."),
    sqlite_autoincrement=True,
    info=_FILLED,
    comment="Readers of what happens in sessions.",
)

feed_positions: Final = Table(
    "onrecord_feed_positions",
    metadata,
    *_in_order("session", "The session's id.", "feed", "The feed's id."),
    _column("epoch", BigInteger, "The session's, as this reader has finished it."),
    _column("head", BigInteger, "How far this reader has finished it."),
    _column("lineage", BigInteger, "The session's at that time; 0 where that is not known."),
    _column("token", BigInteger, "Of the message at that head; 0 where none is known."),
    _column("gone", SmallInteger, "1 where the session was erased since it was last handed out."),
    _column(
        "due",
        BigInteger,
        "From when on it may be handed out: when a lease ends, or at once. NULL for no more than "
        "what the session's row says.",
        null=True,
    ),
    _column("holder", BigInteger, "Random: to whom it was handed out.", null=True),
    info=_IN_ORDER,
    comment="How far each reader has finished each session.",
)
Index(
    "onrecord_feed_positions_by_due",
    feed_positions.c.feed,
    feed_positions.c.due,
    sqlite_where=text("due IS NOT NULL"),
    postgresql_where=text("due IS NOT NULL"),
)

meta: Final = Table(
    "onrecord_meta",
    metadata,
    _key("name", "store_id, cache_id, cache.", Text),
    _column("value", LargeBinary, "What it is."),
    comment="What the database says of itself.",
)

counters: Final = Table(
    "onrecord_counters",
    metadata,
    _key("id", "What rows name it by.", Integer),
    _column("name", Text, "The token counter's name.", unique=True),
    comment="Who counted tokens.",
)

migrations: Final = Table(
    "onrecord_migrations",
    metadata,
    _key("name", "A step that this database has been through.", Text),
    comment="How far the tables are.",
)


def declared(kind: Literal["sqlite", "postgresql"]) -> MetaData:
    """The tables of one database, with the keys that only it has.

    PostgreSQL's unique keys end with a shard, a small number that is computed from tenant and user:
    so a table can be partitioned by it, or spread over machines. SQLite has one number for an
    owner and an order, and tells the two apart when it is asked: rows lie together in a fifth
    less room so.
    """
    whole = MetaData()
    for table in metadata.tables.values():
        columns = [_copied(column) for column in table.columns]
        mark, with_its_key = _OWN_KEYS[kind]
        if table.info.get(mark):
            with_its_key(table, columns, whole)
        else:
            Table(table.name, whole, *columns, comment=table.comment, **_options(table))
        for index in table.indexes:
            _index(index, whole.tables[table.name])
    return whole


def _with_shard(table: Table, columns: list[Column[Any]], whole: MetaData) -> None:
    """Where it takes least room: before what has no fixed length."""
    key = [column.name for column in table.columns if column.primary_key]
    unique = [column.name for column in table.columns if column.unique]
    for column in columns:
        column.unique, column.primary_key = None, False
    shard = _column(
        "shard", SmallInteger, "Computed from tenant and user; every unique key has it."
    )
    fixed = [isinstance(column.type, LargeBinary | Text) for column in columns]
    columns.insert(fixed.index(True) if True in fixed else len(columns), shard)
    Table(
        table.name,
        whole,
        *columns,
        PrimaryKeyConstraint(*key, "shard"),
        *[UniqueConstraint(name, "shard") for name in unique],
        comment=table.comment,
        **_options(table),
    )


def _with_place(table: Table, columns: list[Column[Any]], whole: MetaData) -> None:
    """One number as the key, and two columns that are read out of it and take no room."""
    (owner, number), others = columns[:2], columns[2:]
    place = f"{owner.name} << 32 | {number.name}: one number, so that rows lie together."
    Table(
        table.name,
        whole,
        _key("place", place),
        _told(owner, "place >> 32"),
        _told(number, "place & 4294967295"),
        *others,
        comment=table.comment,
        **_options(table),
    )


def _told(column: Column[Any], expression: str) -> Column[Any]:
    computed = Computed(expression, persisted=False)
    return Column(column.name, BigInteger, computed, nullable=False, comment=column.comment)


def _copied(column: Column[Any]) -> Column[Any]:
    return column._copy()


def _options(table: Table) -> dict[str, Any]:
    options = {
        f"{dialect}_{name}": value
        for dialect, options in table.dialect_options.items()
        for name, value in options.items()
        if value is not None and (value is not False or name == "with_rowid")
    }
    return {**options, "info": {STORED: table.info.get(STORED, {})}}


def _index(index: Index, table: Table) -> None:
    columns: list[Any] = [
        table.c[part.name] if isinstance(part, Column) else part for part in index.expressions
    ]
    if index.unique and "shard" in table.c:
        columns.append(table.c.shard)
    where = {
        f"{dialect}_where": options["where"]
        for dialect, options in index.dialect_options.items()
        if options.get("where") is not None
    }
    Index(index.name, *columns, unique=bool(index.unique), **where)


_OWN_KEYS: Final = {"sqlite": ("in_order", _with_place), "postgresql": ("sharded", _with_shard)}
"""By database, which tables have a key of its own, and how they get it."""
