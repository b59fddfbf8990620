"""Options of every import: which conversations, whose they are, a function for progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypedDict

from onrecord.adapters.importing.report import ImportProgress
from onrecord.adapters.reference import check_store
from onrecord.arguments import check_list
from onrecord.errors import Misconfigured

if TYPE_CHECKING:
    from onrecord.session import Session
    from onrecord.store import Store

_PARTS: Final = frozenset({"session_id", "tenant", "user", "agent"})

SessionOf: TypeAlias = "Callable[[str], Session]"
"""Makes of a conversation's id in its source the session that it goes to."""
Scope: TypeAlias = Callable[[str], Mapping[str, str]]
"""Says of a conversation's id whose it is, and how it is called here."""
OnProgress: TypeAlias = Callable[[ImportProgress], object]
"""Is told how far an import has come."""


class ImportOptions(TypedDict, total=False):
    """The options that every import takes."""

    session_ids: Iterable[object] | None
    """Only these conversations; otherwise all."""
    tenant: str
    user: str
    agent: str
    scope: Scope | None
    """A function of the session id that returns a mapping with some of "tenant", "user" and
    "agent", and "session_id" where it is to be another one."""
    progress: OnProgress | None
    """Called with a ``Progress`` after every 50 messages; what it raises ends the import."""


class ImportPlan(NamedTuple):
    """The options of an import, checked."""

    into: SessionOf
    """Which session a conversation goes to, by its id."""
    wanted: list[str] | None
    """The conversations somebody asked for, each once; None for all."""
    progress: OnProgress | None


def plan_of(
    store: Store,
    *,
    session_ids: Iterable[object] | None = None,
    tenant: str = "",
    user: str = "",
    agent: str = "",
    scope: Scope | None = None,
    progress: OnProgress | None = None,
) -> ImportPlan:
    """Check the options of an import before anything is read."""
    check_store(store)
    # Named one by one: what is misspelt is refused, since a scope that is not there is no wall.
    into = _sessions_in(store, {"tenant": tenant, "user": user, "agent": agent}, scope)
    return ImportPlan(into, _only(session_ids), progress)


def _sessions_in(store: Store, fixed: Mapping[str, str], scope: Scope | None) -> SessionOf:
    store.session("checked", **fixed)  # what is wrong for all is wrong now

    def session_of(id_: str) -> Session:
        given = {} if scope is None else scope(id_)
        if not isinstance(given, Mapping) or not given.keys() <= _PARTS:
            raise Misconfigured(
                f"scope has to return a mapping with some of 'tenant', 'user', 'agent' and "
                f"'session_id', and for {id_!r:.50} it returned {given!r:.80}."
            )
        parts = {"session_id": id_, **fixed, **given}
        return store.session(parts.pop("session_id"), **parts)

    return session_of


def _only(session_ids: Iterable[object] | None) -> list[str] | None:
    if session_ids is None:
        return None
    check_list("session_ids", session_ids)
    return list(dict.fromkeys(str(id_) for id_ in session_ids))
