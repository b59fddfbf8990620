"""Threads of SqliteSaver and PostgresSaver, brought over: everything, once, and only read."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from psycopg.rows import dict_row

from langgraph_onrecord import OnrecordSaver, aimport_threads, import_threads
from langgraph_onrecord.importers import _renumbered
from onrecord import Misconfigured, Store, Unavailable
from tests.servers.postgres import PostgresServer
from tests.test_langgraph_saver import (
    Nonce,
    as_memory_has_it,
    chat,
    delta_graph,
    play,
    say,
    texts,
    thread,
)

Source = tuple[BaseCheckpointSaver[Any], str]


@pytest.fixture(params=["SqliteSaver", "PostgresSaver"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Source]]:
    """Makes a saver of LangGraph's own, and the URL of its tables."""
    later = ExitStack()

    def make(**settings: Any) -> Source:
        if request.param == "SqliteSaver":
            file = tmp_path / "theirs.sqlite"
            connection = sqlite3.connect(file, check_same_thread=False)
            later.callback(connection.close)
            return SqliteSaver(connection, **settings), f"sqlite:///{file}"
        server: PostgresServer = request.getfixturevalue("postgres")
        url = later.enter_context(server.database("theirs"))
        theirs: Any = later.enter_context(
            psycopg.connect(url, autocommit=True, row_factory=dict_row)
        )
        saver = PostgresSaver(theirs, **settings)
        saver.setup()
        return saver, url

    with later:
        yield make


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[OnrecordSaver]:
    with Store(f"sqlite:///{tmp_path / 'ours.db'}", durability="normal") as store:
        yield OnrecordSaver(store, user="ada")


def history(saver: BaseCheckpointSaver[Any], name: str = "t") -> list[Any]:
    listed = list(saver.list(thread(name, checkpoint_ns="")))
    return [
        (_renumbered(dict(t.checkpoint)), t.metadata, t.parent_config, t.pending_writes)
        for t in listed
    ]


def test_everything_is_brought_and_goes_on(
    source: Callable[..., Source], ours: OnrecordSaver
) -> None:
    theirs, url = source()
    play(theirs, "async")
    graph = chat(theirs)
    for n in range(3):
        graph.invoke(say(f"q{n}"), thread("forked"))
    graph.invoke(say("fork"), list(graph.get_state_history(thread("forked")))[3].config)
    done = import_threads(ours, url)
    assert (done.sessions, done.already_there, done.left_alone) == (2, 0, ())
    assert done.checkpoints == len(list(theirs.list(None)))
    for name in ("t", "forked"):
        assert history(ours, name) == history(theirs, name)
    again = import_threads(ours, url)
    assert (again.sessions, again.checkpoints, again.left_alone) == (2, 0, ())
    assert again.already_there == done.checkpoints
    chat(ours).invoke(say("on"), thread("forked"))
    assert texts(chat(ours).get_state(thread("forked")))[-3:] == ["re: fork", "on", "re: on"]
    # Now it has gone on here, and is not brought again; what is new there is left out.
    graph.invoke(say("and there"), thread("forked"))
    assert import_threads(ours, url).left_alone == ("forked",)


def test_an_import_that_was_killed_is_repeated(
    source: Callable[..., Source], ours: OnrecordSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, url = source()
    for n in range(2):
        chat(theirs).invoke(say(f"q{n}"), thread())
    real, left = OnrecordSaver.put, [3]

    def put(self: OnrecordSaver, *given: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(OnrecordSaver, "put", put)
        with pytest.raises(KeyboardInterrupt):
            import_threads(ours, url)
    done = asyncio.run(aimport_threads(ours, url, threads=["t"]))
    assert (done.checkpoints, done.already_there) == (3, 3)
    assert as_memory_has_it(list(chat(ours).get_state_history(thread()))) == as_memory_has_it(
        list(chat(theirs).get_state_history(thread()))
    )


@pytest.mark.filterwarnings("ignore")  # of LangGraph: DeltaChannel is a beta
def test_threads_of_deltas_are_brought(source: Callable[..., Source], ours: OnrecordSaver) -> None:
    theirs, url = source()
    for n in range(5):
        delta_graph(theirs).invoke(say(f"q{n}"), thread())
    import_threads(ours, url)
    expected = texts(delta_graph(theirs).get_state(thread()))
    assert texts(delta_graph(ours).get_state(thread())) == expected


def test_what_was_encrypted_there_may_be_clear_here(
    source: Callable[..., Source], ours: OnrecordSaver
) -> None:
    theirs, url = source(serde=EncryptedSerializer(Nonce()))
    chat(theirs).invoke(say("secret"), thread())
    import_threads(ours, url, serde=theirs.serde)
    assert texts(chat(ours).get_state(thread())) == ["secret", "re: secret"]


def test_what_was_deleted_here_stays_so(source: Callable[..., Source], ours: OnrecordSaver) -> None:
    theirs, url = source()
    chat(theirs).invoke(say("q"), thread())
    import_threads(ours, url)
    ours.delete_thread("t")
    assert import_threads(ours, url).left_alone == ("t",)
    assert ours.get_tuple(thread()) is None


def test_a_source_that_does_not_answer_is_explained(ours: OnrecordSaver) -> None:
    with pytest.raises(Unavailable, match="cannot be read now") as caught:
        import_threads(ours, "postgresql://ada:secret@127.0.0.1:1/threads")
    assert "secret" not in str(caught.value)


def test_a_source_without_their_tables_is_explained(tmp_path: Path, ours: OnrecordSaver) -> None:
    file = tmp_path / "other.db"
    sqlite3.connect(file).execute("CREATE TABLE other (a)").connection.close()
    with pytest.raises(Misconfigured, match="neither the tables of SqliteSaver"):
        import_threads(ours, f"sqlite:///{file}")
