"""Threads that LangGraph's own savers kept, brought into a store.

    from langgraph_onrecord import OnrecordSaver, import_threads
    print(import_threads(OnrecordSaver(store), "sqlite:///checkpoints.sqlite"))

The tables of ``SqliteSaver`` and ``PostgresSaver`` are only read, and left as they are. An import
may be killed and repeated: what is there already is not brought again. A thread that has gone on
here is left alone, since its newest checkpoint would not be its newest any more.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from sqlalchemy import URL, Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from langgraph_onrecord.saver import OnrecordSaver
from onrecord import Cleared, Misconfigured
from onrecord.adapters.importing import Imported
from onrecord.adapters.importing.engines import explained, opened, shown
from onrecord.arguments import texts

__all__ = ["Imported", "aimport_threads", "import_threads"]

_KINDS: Final = (
    ("SqliteSaver", {"checkpoints", "writes"}),
    ("PostgresSaver", {"checkpoints", "checkpoint_blobs", "checkpoint_writes"}),
)


class _Found(NamedTuple):
    id: str
    parent: str | None
    checkpoint: dict[str, Any]
    metadata: dict[str, Any]


def import_threads(
    saver: OnrecordSaver,
    source: str | os.PathLike[str] | URL | Engine,
    *,
    serde: SerializerProtocol | None = None,
    threads: Iterable[str] | None = None,
    schema: str | None = None,
) -> Imported:
    """Bring the threads of a ``SqliteSaver`` or ``PostgresSaver`` into the scope of a saver.

    ``source`` is a URL, or an SQLAlchemy Engine, which is lent and not closed. ``serde`` is what
    they were written with, if not LangGraph's own; ``threads`` are all there are, if not given.
    """
    if not isinstance(saver, OnrecordSaver):
        raise Misconfigured(
            f"import_threads takes an OnrecordSaver first, not a {type(saver).__name__}."
        )
    named = texts("threads", threads)
    engine, owned = opened(source)
    theirs = BaseCheckpointSaver(serde=serde).serde
    ours = copy.copy(saver)
    ours.second_turn = "fork"  # what is forked there is forked here
    try:
        with engine.connect() as connection:
            tables = _tables(connection, theirs, schema)
            there = tables.threads()
            if missing := sorted((named or frozenset()).difference(there)):
                raise Misconfigured(f"The source has no thread {', '.join(map(repr, missing))}.")
            wanted = there if named is None else [thread for thread in there if thread in named]
            brought = [_bring(ours, tables, thread) for thread in wanted]
    except SQLAlchemyError as fault:
        raise explained(fault, shown(engine.url), "the tables of checkpoints") from fault
    finally:
        if owned:
            engine.dispose()
    return Imported(
        sessions=len(wanted),
        checkpoints=sum(new for new, _, _ in brought),
        already_there=sum(old for _, old, _ in brought),
        unread=(),
        behind=(),
        left_alone=tuple(
            thread for thread, (_, _, left) in zip(wanted, brought, strict=True) if left
        ),
    )


async def aimport_threads(
    saver: OnrecordSaver,
    source: str | os.PathLike[str] | URL | Engine,
    *,
    serde: SerializerProtocol | None = None,
    threads: Iterable[str] | None = None,
    schema: str | None = None,
) -> Imported:
    """Like ``import_threads``, in a thread: the drivers it reads with are sync."""
    return await asyncio.to_thread(
        import_threads, saver, source, serde=serde, threads=threads, schema=schema
    )


def _bring(saver: OnrecordSaver, tables: _Tables, thread: str) -> tuple[int, int, bool]:
    """Import a thread: how many checkpoints are new, how many were here, and whether it was
    left alone."""
    of_source = {namespace: tables.ids(thread, namespace) for namespace in tables.spaces(thread)}
    here: dict[str, set[str]] = {}
    for namespace in saver.log.namespaces(thread):
        there = set(of_source.get(namespace, ()))
        here[namespace] = _ids_here(saver, thread, namespace)
        if here[namespace] - there:
            return 0, 0, True
    new = old = 0
    for namespace, ids in of_source.items():
        before: _Found | None = None
        for id in ids:
            if id in here.get(namespace, ()):
                old += 1
                continue
            found = tables.checkpoint(thread, namespace, id)
            try:
                _put(saver, thread, namespace, found, before)
            except Cleared:  # it was deleted here, and that is final
                return new, old, True
            for task, path, writes in tables.writes(thread, namespace, id):
                places = [(at, channel, saver._values.dump(v)) for at, channel, v in writes]
                saver.log.put_writes(thread, namespace, id, task, path, places)
            before = found
            new += 1
    return new, old, False


def _ids_here(saver: OnrecordSaver, thread: str, namespace: str) -> set[str]:
    ids: set[str] = set()
    before: int | None = None
    while page := saver.log.page(thread, namespace, before=before):
        ids |= {entry.id for entry in page}
        before = page[-1].row.number
    return ids


def _put(
    saver: OnrecordSaver, thread: str, namespace: str, found: _Found, before: _Found | None
) -> None:
    values = found.checkpoint["channel_values"]
    versions = found.checkpoint["channel_versions"]
    written = dict(versions)
    if before is not None and before.id == found.parent:
        # Values are kept once per version, so what has not changed has to be known to.
        old, were = before.checkpoint["channel_values"], before.checkpoint["channel_versions"]
        written = {
            channel: version
            for channel, version in versions.items()
            if version != were.get(channel) or not _same(values.get(channel), old.get(channel))
        }
    # A SqliteSaver keeps also what has no version.
    written.update({channel: 0 for channel in values if channel not in versions})
    configurable: dict[str, Any] = {"thread_id": thread, "checkpoint_ns": namespace}
    if found.parent is not None:
        configurable["checkpoint_id"] = found.parent
    saver.put(
        {"configurable": configurable},
        _renumbered(found.checkpoint),  # type: ignore[arg-type]
        found.metadata,  # type: ignore[arg-type]
        _numbers(written),
    )


def _renumbered(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Give a checkpoint the versions it would have here. LangGraph compares a version with the
    first of a channel that had none, and text with a number it cannot."""
    return {
        **checkpoint,
        "channel_versions": _numbers(checkpoint["channel_versions"]),
        "versions_seen": {
            node: _numbers(seen) for node, seen in checkpoint.get("versions_seen", {}).items()
        },
    }


def _numbers(versions: Mapping[str, Any]) -> dict[str, Any]:
    """Turn their versions into numbers: text of 32 digits, and a random number behind a dot."""
    return {
        channel: int(version.split(".")[0]) if isinstance(version, str) else version
        for channel, version in versions.items()
    }


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # an array has an == of its own, and anything may raise
        return False


def _tables(connection: Connection, serde: SerializerProtocol, schema: str | None) -> _Tables:
    names = set(inspect(connection).get_table_names(schema=schema))
    prefix = ""
    if schema is not None:
        prefix = connection.dialect.identifier_preparer.quote_schema(schema) + "."
    if names >= _KINDS[1][1]:
        return _Postgres(connection, serde, prefix)
    if names >= _KINDS[0][1]:
        return _Sqlite(connection, serde, prefix)
    raise Misconfigured(
        "The source has neither the tables of SqliteSaver (checkpoints, writes) nor those of "
        "PostgresSaver (checkpoints, checkpoint_blobs, checkpoint_writes). Check the URL, and "
        "schema= where they are not in the default one."
    )


_ONE: Final = "thread_id = :thread AND checkpoint_ns = :namespace AND checkpoint_id = :id"


class _Tables(ABC):
    """What both kinds of tables have in common."""

    written = "writes"
    value = "value"

    def __init__(self, connection: Connection, serde: SerializerProtocol, prefix: str) -> None:
        self._connection = connection
        self._serde = serde
        self._prefix = prefix

    def threads(self) -> list[str]:
        rows = self._rows("SELECT DISTINCT thread_id FROM {p}checkpoints ORDER BY thread_id")
        return [row[0] for row in rows]

    def spaces(self, thread: str) -> list[str]:
        rows = self._rows(
            "SELECT DISTINCT checkpoint_ns FROM {p}checkpoints WHERE thread_id = :thread "
            "ORDER BY checkpoint_ns",
            thread=thread,
        )
        return [row[0] for row in rows]

    def ids(self, thread: str, namespace: str) -> list[str]:
        rows = self._rows(
            "SELECT checkpoint_id FROM {p}checkpoints "
            "WHERE thread_id = :thread AND checkpoint_ns = :namespace",
            thread=thread,
            namespace=namespace,
        )
        return sorted(row[0] for row in rows)  # by code points, as uuid6 is made to be sorted

    @abstractmethod
    def checkpoint(self, thread: str, namespace: str, id: str) -> _Found:
        """Read a checkpoint as it was put."""

    def writes(
        self, thread: str, namespace: str, id: str
    ) -> Iterator[tuple[str, str, list[tuple[int, str, Any]]]]:
        """Read what each task has written: its id and path, and (place, channel, value)."""
        columns = {c["name"] for c in inspect(self._connection).get_columns(self.written)}
        path = "task_path" if "task_path" in columns else "''"
        rows = self._rows(
            f"SELECT task_id, {path}, idx, channel, type, {self.value} FROM {{p}}{self.written} "
            f"WHERE {_ONE} ORDER BY task_id, idx",
            thread=thread,
            namespace=namespace,
            id=id,
        )
        tasks: dict[tuple[str, str], list[tuple[int, str, Any]]] = {}
        for task, task_path, at, channel, kind, content in rows:
            value = self._serde.loads_typed((kind, bytes(content or b"")))
            tasks.setdefault((task, task_path or ""), []).append((at, channel, value))
        for (task, task_path), writes in tasks.items():
            yield task, task_path, writes

    def _rows(self, statement: str, **values: object) -> list[Any]:
        answer = self._connection.execute(text(statement.format(p=self._prefix)), values)
        return list(answer)


class _Sqlite(_Tables):
    """The whole state in each row."""

    def checkpoint(self, thread: str, namespace: str, id: str) -> _Found:
        [(parent, kind, content, metadata)] = self._rows(
            f"SELECT parent_checkpoint_id, type, checkpoint, metadata FROM {{p}}checkpoints "
            f"WHERE {_ONE}",
            thread=thread,
            namespace=namespace,
            id=id,
        )
        checkpoint = self._serde.loads_typed((kind, bytes(content)))
        return _Found(id, parent, checkpoint, json.loads(metadata) if metadata else {})


class _Postgres(_Tables):
    """Small values in the row, others by channel and version."""

    written = "checkpoint_writes"
    value = "blob"

    def checkpoint(self, thread: str, namespace: str, id: str) -> _Found:
        [(parent, checkpoint, metadata)] = self._rows(
            f"SELECT parent_checkpoint_id, checkpoint, metadata FROM {{p}}checkpoints WHERE {_ONE}",
            thread=thread,
            namespace=namespace,
            id=id,
        )
        values = dict(checkpoint.get("channel_values") or {})
        for channel, version in checkpoint["channel_versions"].items():
            blobs = self._rows(
                "SELECT type, blob FROM {p}checkpoint_blobs WHERE thread_id = :thread AND "
                "checkpoint_ns = :namespace AND channel = :channel AND version = :version",
                thread=thread,
                namespace=namespace,
                channel=channel,
                version=str(version),
            )
            for kind, content in blobs:
                if kind != "empty":
                    values[channel] = self._serde.loads_typed((kind, bytes(content)))
        found: Mapping[str, Any] = {**checkpoint, "channel_values": values, "id": id}
        return _Found(id, parent, dict(found), dict(metadata or {}))
