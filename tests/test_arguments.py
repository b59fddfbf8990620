"""One kind of error for one kind of mistake, with one wording, whoever is given the argument."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from langchain_onrecord import (
    OnrecordChatMessageHistory,
    OnrecordMiddleware,
    OnrecordRetriever,
    Recall,
    memory_tools,
)
from langchain_onrecord.importers import import_sql
from langgraph_onrecord import OnrecordSaver
from langgraph_onrecord.importers import import_threads
from llama_index_onrecord import OnrecordChatStore, OnrecordMemory
from onrecord import CheckpointLog, Misconfigured, Store
from onrecord.checkpoint_log import New

ABOUT: dict[str, tuple[Mapping[str, Any], str]] = {
    "a title that is a number": ({"title": 3}, "title has to be text or None, not 3."),
    "a title in bytes": ({"title": b"t"}, "title has to be text or None, not b't'."),
    "metadata that is a number": (
        {"metadata": 3},
        "metadata has to be a mapping or None, not 3.",
    ),
    "metadata that is false": (
        {"metadata": False},
        "metadata has to be a mapping or None, not False.",
    ),
    "a lifetime that is a number": (
        {"expires_in": 3},
        "expires_in has to be a timedelta above zero or None, not 3.",
    ),
}


@pytest.mark.parametrize("what", ABOUT)
def test_sessions_and_threads_refuse_alike(what: str) -> None:
    given, wording = ABOUT[what]
    with Store("sqlite://") as store:
        session, log = store.session("k"), CheckpointLog(store)
        session.append(("user", "Hi."))
        log.put("k", "", New("1", None, [("json", b"{}")], {}))
        before = session.info(), log.threads()
        calls: list[Callable[[], object]] = [
            lambda: session.update(**given),
            lambda: asyncio.run(session.aupdate(**given)),
            lambda: log.update("k", **given),
            lambda: asyncio.run(log.aupdate("k", **given)),
        ]
        if "metadata" in given:
            calls += [
                lambda: store.sessions(**given),
                lambda: log.threads(**given),
                lambda: log.put("k", "", New("2", "1", [("json", b"{}")], {}), **given),
            ]
        for refused in calls:
            with pytest.raises(Misconfigured) as caught:
                refused()
            assert str(caught.value) == wording
        assert (session.info(), log.threads()) == before


def test_what_cannot_be_kept_is_named_alike() -> None:
    with Store("sqlite://") as store:
        said = set()
        for update in (
            store.session("k").update,
            lambda **given: CheckpointLog(store).update("k", **given),
        ):
            with pytest.raises(ValueError, match=r"^metadata") as caught:
                update(metadata={"a": object()})
            said.add((type(caught.value), str(caught.value)))
        assert len(said) == 1


def test_none_takes_away_what_a_thread_was_given() -> None:
    with Store("sqlite://") as store:
        log = CheckpointLog(store)
        log.put("k", "", New("1", None, [("json", b"{}")], {}))
        log.update("k", title="t", metadata={"a": 1})
        log.update("k", metadata=None)
        (info,) = log.threads()
        assert (info.title, info.metadata) == ("t", {})


async def nobody_awaits(_: object) -> None: ...


WORD: Any = "x"
NUMBER: Any = 3

OF_ADAPTERS: dict[str, tuple[Callable[[Any], object], str]] = {
    "second_turn": (lambda s: OnrecordSaver(s, second_turn=WORD), "'refuse' or 'fork'"),
    "strategy": (lambda s: OnrecordSaver(s).prune(["t"], strategy="x"), "'keep_latest' or"),
    "thread_ids": (lambda s: OnrecordSaver(s).prune("t"), r"a list: \w+=\['t'\]\."),
    "run_ids": (lambda s: OnrecordSaver(s).delete_for_runs("r"), r"a list: run_ids=\['r'\]\."),
    "threads": (
        lambda s: import_threads(OnrecordSaver(s), "sqlite://", threads="t"),
        r"a list: \w+=\['t'\]\.",
    ),
    r"threads\b": (
        lambda s: import_threads(OnrecordSaver(s), "sqlite://", threads=[NUMBER]),
        r"a list of texts, and 3 is none\.",
    ),
    "session_ids": (
        lambda s: import_sql(s, "sqlite://", session_ids="s"),
        r"a list: session_ids=\['s'\]\.",
    ),
    "on_error": (
        lambda s: OnrecordChatMessageHistory("k", store=s, on_error=nobody_awaits),
        "a function of an exception, and not an async one",
    ),
    "window": (lambda s: OnrecordMiddleware(s, window=WORD), "a number of messages"),
    r"window\['turns'\]": (
        lambda s: OnrecordMiddleware(s, window={"turns": 0}),
        "a whole number from 1 up",
    ),
    "turns": (lambda s: s.session("k").window(turns=True), "a whole number from 1 up, not True"),
    "token_counter": (
        lambda s: OnrecordMiddleware(s, window={"tokens": 9}, token_counter=NUMBER),
        "a function of messages or a chat model, not 3",
    ),
    "agent": (lambda s: OnrecordMiddleware(s, agent=NUMBER), "a name or a function that gives one"),
    "recall": (lambda s: OnrecordMiddleware(s, recall=NUMBER), "True, False or a Recall, not 3"),
    "tokens": (lambda s: Recall(tokens=0), "a whole number from 1 up, not 0"),
    "across": (lambda s: Recall(across=WORD), "'session' or 'user', not"),
    "k": (lambda s: OnrecordRetriever(s, k=0), "a whole number from 1 up, not 0"),
    "min_score": (lambda s: OnrecordRetriever(s, min_score=2), "a score from 0 to 1, not 2"),
    "user": (lambda s: memory_tools(s, user=NUMBER), "a name or a function that gives one"),
    "on_reset": (lambda s: OnrecordMemory(store=s, on_reset="x"), "'new' or 'clear'"),
    "token_limit": (lambda s: OnrecordMemory(store=s, token_limit=0), "a whole number from 1 up"),
    "chat_history_token_ratio": (
        lambda s: OnrecordMemory(store=s, chat_history_token_ratio=2),
        "more than 0 and at most 1, not 2",
    ),
    "feed_timeout": (lambda s: OnrecordMemory(store=s, feed_timeout=-1), "more than 0, not -1"),
}


@pytest.mark.parametrize("what", OF_ADAPTERS)
def test_adapters_refuse_in_the_same_words(what: str) -> None:
    refused, wording = OF_ADAPTERS[what]
    with (
        Store("sqlite://") as store,
        pytest.raises(Misconfigured, match=f"^{what} has to be {wording}"),
    ):
        refused(store)


def test_a_setting_that_there_is_none_of_is_named() -> None:
    with Store("sqlite://") as store:
        for make, words in (
            (OnrecordChatStore, r"has no setting tennant\. It has store, tenant, user, agent\.$"),
            (OnrecordMemory, r"has no setting tennant\. A misspelt tenant="),
        ):
            with pytest.raises(Misconfigured, match=words):
                make(store=store, tennant="a")
