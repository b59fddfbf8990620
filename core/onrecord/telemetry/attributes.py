"""What may be said of an operation: names, counts and sizes, and nothing that was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from onrecord.scope import EVERYBODY, FeedName, NamespaceName, Scope, SessionName, StateName
from onrecord.stored.messages import MessageRow, Snapshot

_PARTS: Final = ("tenant", "user", "agent")


def names_in(arguments: Mapping[str, Any]) -> dict[str, str]:
    """The names that an operation was given. Of a scope's parts, those that are names."""
    found: dict[str, str] = {}
    name = _named(arguments)
    match name:
        case SessionName():
            found["gen_ai.conversation.id"] = name.key
        case StateName():
            found["gen_ai.conversation.id"] = name.session.key
        case NamespaceName():
            found["onrecord.namespace"] = "/".join(name.parts)
        case FeedName():
            found["onrecord.feed"] = name.name
        case _:
            pass
    for part in _PARTS:
        given = arguments.get(part) if name is None else getattr(name, part, None)
        if isinstance(given, str) and given:
            found[f"onrecord.{part}"] = given
    return found


def _named(arguments: Mapping[str, Any]) -> Any:
    """What an operation is about: a session, a namespace, a feed or a scope; None for neither."""
    for parameter in ("name", "scope", "where", "source", "lease"):
        given = arguments.get(parameter)
        if parameter == "lease":
            given = getattr(given, "name", None)
        elif isinstance(given, tuple) and given and isinstance(given[0], Scope):
            given = given[0]  # a scope, and how names begin
        if isinstance(given, SessionName | NamespaceName | FeedName | Scope):
            return given
    return None


def everywhere(arguments: Mapping[str, Any]) -> bool:
    """Whether an operation is about the whole store."""
    return arguments.get("scope") == EVERYBODY


def count_of(answer: Any) -> int | None:
    """How many an operation returned; None where it is not that kind of answer."""
    if isinstance(answer, bool | str | bytes):
        return None
    if isinstance(answer, int):
        return answer
    if isinstance(answer, tuple):  # a version and a page of messages; hits, and whether all
        lists = [one for one in answer if isinstance(one, list)]
        return len(lists[0]) if type(answer) is tuple and lists else None
    return len(answer) if isinstance(answer, Sequence | Mapping) else None


def bytes_in(answer: Any) -> int:
    """How many stored bytes a step has handed over, in rows and lists of rows."""
    if isinstance(answer, MessageRow):
        return len(answer.frame or b"")
    if isinstance(answer, bytes | memoryview):
        return len(answer)
    if isinstance(answer, tuple | list):
        return sum([bytes_in(one) for one in answer])
    if isinstance(answer, Snapshot):
        return bytes_in(answer.rows)
    if isinstance(answer, dict):
        return sum([bytes_in(one) for one in answer.values()])
    seen = getattr(answer, "seen", None)  # a glance into the cache
    return 0 if seen is None else bytes_in(seen)
