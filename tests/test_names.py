"""Names of a class of their own: members of an enum, as many keep them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from onrecord import ANY, Put, Store
from onrecord.memory import WorkingMemory
from onrecord.testing.contract import Face


class Name(str, enum.Enum):  # noqa: UP042
    """Of which ``str`` says something else than its text."""

    TENANT = "acme"
    USER = "ada"
    AGENT = "desk"
    KEY = "ticket-1"
    FACTS = "facts"
    TOOL = "tool"


SCOPE: Any = {"tenant": Name.TENANT, "user": Name.USER, "agent": Name.AGENT}
PLAIN: Any = {"tenant": "acme", "user": "ada", "agent": "desk"}


def test_a_member_of_an_enum_names_what_its_text_names(
    each_store: Callable[..., Store], face: Face
) -> None:
    store, other = each_store(), each_store()
    chat = face(store.session(Name.KEY, **SCOPE))
    chat.append(("user", Name.TOOL), items=[Put((Name.FACTS,), Name.TOOL, {"k": Name.TOOL})])
    face(store.items(Name.FACTS, **SCOPE)).put(Name.KEY, 1)
    face(store.session(Name.KEY, **SCOPE).state).put(Name.TOOL, 2)
    same = other.session("ticket-1", **PLAIN)
    assert [message.text for message in same.messages()] == ["tool"]
    facts = other.items("facts", **PLAIN)
    assert {item.key: item.value for item in facts.list()} == {"ticket-1": 1, "tool": {"k": "tool"}}
    state = same.state.get("tool")
    assert state is not None
    assert state.value == 2
    for scope in (SCOPE, PLAIN, {**SCOPE, "agent": ANY}, {"tenant": ANY, "user": Name.USER}):
        (found,) = face(store).sessions(
            **{**dict.fromkeys(("tenant", "user", "agent"), ANY), **scope}
        )
        assert (found.tenant, found.user, found.agent, found.key) == (*PLAIN.values(), "ticket-1")
    assert [hit.session.name.key for hit in face(store).search("tool", **SCOPE)] == ["ticket-1"]
    (change,) = face(store.feed(Name.TOOL, **SCOPE)).read()
    assert change.session == same.info()
    face(store).erase(**SCOPE)
    assert same.count() == 0
    assert facts.count() == 0


def test_a_thread_and_a_working_memory_are_named_by_it_too(
    each_store: Callable[..., Store],
) -> None:
    store = each_store()
    working = WorkingMemory(store, session_id=Name.KEY, **SCOPE)
    working[Name.TOOL] = 1
    assert WorkingMemory(store, session_id="ticket-1", **PLAIN)["tool"] == 1
