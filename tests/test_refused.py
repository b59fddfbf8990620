"""What cannot be is refused by an error that names it, before anything is written."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest

from onrecord import (
    CheckpointLog,
    Damaged,
    InvalidMessage,
    InvalidValue,
    Message,
    Misconfigured,
    OnrecordError,
    Store,
    Unavailable,
)
from onrecord.codec import lines
from onrecord.codec.lines import End, Place
from onrecord.codec.values import DEEPEST
from onrecord.filters import predicate_of
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import SessionName
from tests.children import PATIENCE

TIMEOUTS_OF_THE_SERVER = ["25P03", "25P04", "57P05"]


def cyclic() -> Any:
    value: list[Any] = []
    for _ in range(100_000):  # deeper than anything that prints it
        value = [value]
    return value


def deep_dict() -> Any:
    value: dict[str, Any] = {}
    for _ in range(5_000):
        value = {"a": value}
    return value


def in_itself() -> Any:
    """A dict that holds itself, under a key and in a list."""
    value: dict[str, Any] = {}
    value["a"] = [value]
    value["b"] = value
    return value


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


# -- the server's own timeouts ---------------------------------------------------------------


@pytest.mark.parametrize("state", TIMEOUTS_OF_THE_SERVER)
def test_a_timeout_of_the_server_is_named(postgres_url: str, state: str) -> None:
    def work(txn: Transaction) -> None:
        txn.run(f"DO $$ BEGIN RAISE EXCEPTION 'too slow' USING ERRCODE = '{state}'; END $$")

    with Store(postgres_url) as store:
        store.migrate()
        with pytest.raises(Unavailable, match="too slow") as caught:
            store._ledger.write(work)
        assert not caught.value.outcome_unknown


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("53400", Unavailable, "failed by itself"),  # a limit of the configuration
        ("58030", Unavailable, "failed by itself"),  # a disk
        ("58P01", Unavailable, "failed by itself"),  # a file that is not there
        ("XX000", Unavailable, "failed by itself"),
        ("XX001", Damaged, "files that are damaged"),
        ("XX002", Damaged, "REINDEX"),
    ],
)
def test_a_fault_of_the_server_itself_is_named(
    postgres_url: str, state: str, kind: type[OnrecordError], words: str
) -> None:
    with Store(postgres_url) as store:
        session = store.session("s")
        session.append(("user", "before"))
        with psycopg.connect(postgres_url) as connection:
            connection.execute(f"""
                CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'no good' USING ERRCODE = '{state}'; END $$;
                CREATE TRIGGER fails BEFORE INSERT ON onrecord_tail
                FOR EACH ROW EXECUTE FUNCTION fails()""")
        for given in (("user", "one"), [("user", "one"), ("user", "two")]):
            with pytest.raises(kind, match=words) as caught:
                session.append(given)
            assert "no good" in f"{caught.value}"
            assert "Nothing was written" in f"{caught.value}"
            assert not getattr(caught.value, "outcome_unknown", False)
            assert isinstance(caught.value.__cause__, psycopg.Error)
        assert [message.text for message in session.messages()] == ["before"]


@pytest.mark.parametrize("times", [1, 99], ids=["once", "each time"])
def test_a_program_that_stands_still_in_a_transaction(
    postgres_url: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends the connection: what was open is rolled back, and done again."""
    with Store(postgres_url, timeout=0.3, pool_size=1) as store:
        session = store.session("s")
        session.append([("user", "one"), ("assistant", "two")])
        begin, stalls = Transaction.begin, iter(range(times))

        def slowly(txn: Transaction) -> None:
            begin(txn)
            if next(stalls, None) is not None:
                wait_until_gone(postgres_url, txn.cursor.connection.info.backend_pid)

        monkeypatch.setattr(Transaction, "begin", slowly)
        new = [("user", "three"), ("assistant", "four")]
        if times == 1:
            session.append(new, archived=True)
        else:
            with pytest.raises(Unavailable, match="Nothing was written") as caught:
                session.append(new, archived=True)
            assert not caught.value.outcome_unknown
        monkeypatch.undo()
        assert next(stalls, None) != 0, "nothing was held up"
        said = ["one", "two", *(text for _, text in new if times == 1)]
        assert [message.text for message in session.messages()] == said


def wait_until_gone(url: str, backend: int) -> None:
    deadline = time.monotonic() + PATIENCE
    with psycopg.connect(url, autocommit=True) as connection:
        asked = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        while connection.execute(asked, (backend,)).fetchone() and time.monotonic() < deadline:
            threading.Event().wait(0.01)


# -- arguments -------------------------------------------------------------------------------


def of_session(**said: Any) -> bytes:
    """A file with one session, of which something strange is said."""
    line = lines.line_of(lines.Session(SessionName(key="k"), 0, 0, 0)).decode()
    for name, value in said.items():
        line = line.replace('"head":0', f'"head":0,"{name}":{value}')
    return b"".join((lines.header(), line.encode(), lines.line_of(End(1, 0, 0))))


REFUSED: dict[str, Callable[[Store, Path], object]] = {
    "a session's expiry without end": lambda store, _: store.session("s").update(
        expires_in=timedelta.max
    ),
    "a thread's expiry without end": lambda store, _: CheckpointLog(store).update(
        "t", expires_in=timedelta.max
    ),
    "a store's expiry without end": lambda store, _: Store("sqlite://", expires_in=timedelta.max),
    "a negative expiry in a file": lambda store, _: store.import_(
        io.BytesIO(of_session(expires_in='{"$timedelta":[-1,0,0]}'))
    ),
    "an endless expiry in a file": lambda store, _: store.import_(
        io.BytesIO(of_session(expires_in='{"$timedelta":[999999999,0,0]}'))
    ),
    "too many to archive": lambda store, _: store.session("s").archive(range(10**9)),
    "too many to unarchive": lambda store, _: store.session("s").unarchive(range(10**9)),
    "nothing to archive": lambda store, _: store.session("s").archive(None),  # type: ignore
    "a window that is none": lambda store, _: store.session("s").window(
        last="yesterday",  # type: ignore
    ),
    "an archive with a long name": lambda store, folder: store.prune(
        older_than=timedelta(microseconds=1), archive_to=folder / f"{'x' * 300}.jsonl"
    ),
    "an archive with a NUL in its name": lambda store, _: store.prune(archive_to="a\0.jsonl"),
    "an archive that is a number": lambda store, _: store.prune(archive_to=5),  # type: ignore
    "an export with a long name": lambda store, folder: store.export(folder / f"{'x' * 300}.jsonl"),
    "an import with a long name": lambda store, folder: store.import_(folder / ("x" * 300)),
    "seconds that are no number": lambda store, _: store.compact(quiet_for=float("nan")),
    "seconds without end": lambda store, _: store.compact(quiet_for=float("inf")),
    "metadata that cannot be printed": lambda store, _: store.sessions(metadata=cyclic()),
    "a limit that cannot be printed": lambda store, _: store.session("s").tail(cyclic()),
    "a limit that prints itself badly": lambda store, _: store.session("s").tail(
        Unprintable(),  # type: ignore
    ),
    "an item's version that cannot be printed": lambda store, _: store.items("n").put(
        "k", 1, expected=10**5000
    ),
    "an expectation that cannot be printed": lambda store, _: store.session("s").append(
        ("user", "x"), expected=cyclic()
    ),
    "a call that cannot be printed": lambda store, _: store.session("s").append(
        {"role": "user", "tool_calls": [cyclic()]}
    ),
    "a key that cannot be printed": lambda store, _: store.session("s").append(
        {"role": "user", "content": "x", "metadata": {10**5000: 1}}
    ),
    "a file that cannot be printed": lambda store, _: store.export(cyclic()),
}

Asking: TypeAlias = Callable[[Store, Any], object]
BY_A_FILTER: dict[str, Asking] = {
    "list": lambda store, wanted: store.items("n").list(filter=wanted),
    "alist": lambda store, wanted: asyncio.run(store.items("n").alist(filter=wanted)),
    "search": lambda store, wanted: store.items("n").search("x", filter=wanted),
    "asearch": lambda store, wanted: asyncio.run(store.items("n").asearch("x", filter=wanted)),
    "find_items": lambda store, wanted: store.find_items(filter=wanted),
    "afind_items": lambda store, wanted: asyncio.run(store.afind_items(filter=wanted)),
    "search_items": lambda store, wanted: store.search_items("x", filter=wanted),
    "asearch_items": lambda store, wanted: asyncio.run(store.asearch_items("x", filter=wanted)),
}
BY_ROLES: dict[str, Asking] = {
    "search of a session": lambda store, given: store.session("s").search("x", roles=given),
    "asearch of a session": lambda store, given: asyncio.run(
        store.session("s").asearch("x", roles=given)
    ),
    "search": lambda store, given: store.search("x", roles=given),
    "asearch": lambda store, given: asyncio.run(store.asearch("x", roles=given)),
}


def asked(ask: Asking, given: object) -> Callable[[Store, Path], object]:
    return lambda store, _: ask(store, given)


REFUSED |= {f"a filter in {name}": asked(ask, in_itself()) for name, ask in BY_A_FILTER.items()}
REFUSED |= {f"roles in {name}": asked(ask, [["user"]]) for name, ask in BY_ROLES.items()}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused_by_name(what: str, tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        store.session("s").append(("user", "hello"))
        before = content(store)
        with pytest.raises((Misconfigured, InvalidMessage, OnrecordError)) as caught:
            REFUSED[what](store, tmp_path)
        assert str(caught.value)
        assert content(store) == before


def content(store: Store) -> list[tuple[Any, ...]]:
    """Every row of every table."""

    def work(txn: Transaction) -> list[tuple[Any, ...]]:
        return [
            (name, *row)
            for (name,) in txn.rows(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'onrecord%'", {}
            )
            for row in txn.rows(f"SELECT * FROM {name}", {})
        ]

    return store._ledger.read(work)


TOO_DEEP = {
    "holds itself": in_itself(),
    "holds what holds itself": {"a": {"$eq": in_itself()}},
    "is one of what holds itself": {"a": {"$in": [in_itself()]}},
    "is both of what holds itself": {"$and": [in_itself(), {"a": 1}]},
    "is deep": deep_dict(),
    "is deep in a list": {"a": {"$ne": cyclic()}},
}


@pytest.mark.parametrize("ask", BY_A_FILTER)
@pytest.mark.parametrize("which", TOO_DEEP)
def test_a_filter_that_is_nested_too_deep_says_so(ask: str, which: str) -> None:
    """Before anything is read, so also where there is nothing to be filtered."""
    with Store("sqlite://") as store, pytest.raises(Misconfigured, match="filter is nested deep"):
        BY_A_FILTER[ask](store, TOO_DEEP[which])


def test_a_filter_of_countless_choices_says_so() -> None:
    countless = {"n": {"$in": range(10**30)}}
    with Store("sqlite://") as store, pytest.raises(Misconfigured, match="in takes 1,000,000 "):
        store.items("n").list(filter=countless)


@pytest.mark.parametrize("ask", BY_ROLES)
@pytest.mark.parametrize(
    "roles",
    ["user", 5, [["user"]], [{"a": 1}], [None], [1], [b"user"], [in_itself()], range(10**9)],
    ids=repr,
)
def test_roles_that_are_none_are_named(ask: str, roles: Any) -> None:
    with Store("sqlite://") as store, pytest.raises(Misconfigured, match="roles has to be a list"):
        BY_ROLES[ask](store, roles)


def test_a_value_as_deep_as_can_be_is_asked_for() -> None:
    inside: Any = 1
    for _ in range(DEEPEST - 1):
        inside = [inside]
    with Store("sqlite://") as store:
        items = store.items("n")
        items.put("k", {"is": inside})
        with pytest.raises(InvalidValue, match=f"deeper than {DEEPEST} levels"):
            items.put("deeper", {"is": [inside]})
        assert [item.key for item in items.list(filter={"is": inside})] == ["k"]


def test_who_has_been_quiet_for_longer_than_there_is_time() -> None:
    with Store("sqlite://") as store:
        store.session("s").append(("user", "hello"))
        assert store.prune(older_than=timedelta.max).sessions == ()


def test_an_id_that_stands_twice_after_what_is_there() -> None:
    """The first message is a row already when the others come."""

    def file(*ids: str) -> io.BytesIO:
        places = [Place(n, Message("tool", str(n)), id, 0) for n, id in enumerate(ids, 1)]
        session = lines.Session(SessionName(key="k"), len(ids), 0, 0)
        said = [lines.line_of(session), *map(lines.line_of, places)]
        return io.BytesIO(b"".join((lines.header(), *said, lines.line_of(End(1, len(ids), 0)))))

    with Store("sqlite://") as store:
        store.import_(file("x"))
        store.import_(file("x", "a", "a"))
        assert [message.id for message in store.session("k").messages()] == ["x", "a", "a"]
        assert store.verify() == []


# -- what is appended ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pair",
    [("hello there", "user"), ("x" * 65, "user"), ("hello\nthere", "user")],
)
def test_a_pair_the_wrong_way_round_is_refused(pair: tuple[str, str]) -> None:
    with Store("sqlite://") as store:
        for given in (pair, [("user", "x"), pair]):
            with pytest.raises(InvalidMessage, match="The role comes first"):
                store.session("s").append(given)
        assert store.session("s").count() == 0
        store.session("s").append([("tool_output", "x"), Message("two words", "x")])


def test_a_frameworks_message_names_its_converter() -> None:
    langchain = pytest.importorskip("langchain_core.messages")
    llama_index = pytest.importorskip("llama_index.core.llms")
    with Store("sqlite://") as store:
        for message, converter in (
            (langchain.HumanMessage("hello"), "langchain_onrecord.from_langchain"),
            (llama_index.ChatMessage("hello"), "llama_index_onrecord.from_llama_index"),
        ):
            for given in (message, [message]):
                with pytest.raises(InvalidMessage, match=converter):
                    store.session("s").append(given)
        assert store.sessions() == []


def test_a_thread_that_is_not_there_is_not_updated() -> None:
    with Store("sqlite://") as store:
        log = CheckpointLog(store)
        with pytest.raises(Misconfigured, match="no thread 't'"):
            log.update("t", title="lost")
        assert log.threads() == []


def test_a_str_is_no_message_of_llama_index() -> None:
    memories = pytest.importorskip("llama_index_onrecord")
    with Store("sqlite://") as store:
        memory = memories.OnrecordMemory.from_defaults(session_id="s", store=store)
        with pytest.raises(InvalidMessage, match="not a ChatMessage"):
            memory.put("hello")
        with pytest.raises(InvalidMessage, match="not a ChatMessage"):
            memory.put_messages("hello")
        assert store.sessions() == []


def test_a_filter_is_looked_through_once() -> None:
    """What holds the same twice at each of sixty levels has 2**60 ways down; and a value that is as
    deep as values are may be asked for behind operators."""
    wide: Any = "v"
    for _ in range(60):
        wide = [wide, wide]
    predicate_of({"x": wide})
    deep: Any = "v"
    for _ in range(99):
        deep = [deep]
    assert predicate_of({"$and": [{"x": {"$in": [deep]}}]})({"x": deep})
