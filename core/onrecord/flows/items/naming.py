"""Which namespace a change of an item is of."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from onrecord.errors import Misconfigured
from onrecord.flows.shared import Desk
from onrecord.scope import NamespaceName, Scope, SessionName, StateName


def name_of(desk: Desk, given: object, scope: Scope, session: SessionName | None) -> NamespaceName:
    """Names, in the scope of all changes; or those of a handle, whose scope has to be the same.

    Of an append's ``session`` no other session's state: two who append to each other's at once
    would wait for each other.
    """
    name = getattr(given, "name", None)
    if not isinstance(name, NamespaceName):
        parts: Any = (given,) if isinstance(given, str) else given  # checked as a name is made
        tenant, user, agent = map(str, scope)
        if type(parts) is tuple and {str}.issuperset(map(type, parts)):
            return _named(parts, tenant, user, agent)
        # Nothing of somebody's own class is looked up: it may be equal to what it is not.
        return NamespaceName(parts=parts, tenant=tenant, user=user, agent=agent)
    if getattr(given, "_desk", None) is not desk:
        raise Misconfigured(f"The handle on {name} is another store's. Make one from this store.")
    if (name.tenant, name.user, name.agent) != tuple(scope):
        raise Misconfigured(
            f"The handle is on {name}, and these changes are of {scope}. Changes of several "
            f"scopes are several calls."
        )
    if session is not None and isinstance(name, StateName) and name.session != session:
        raise Misconfigured(
            f"An append to session {session} cannot change {name}. store.write() can, before it or "
            f"after it."
        )
    return name


@lru_cache(1024)
def _named(parts: tuple[str, ...], tenant: str, user: str, agent: str) -> NamespaceName:
    """A namespace by its names; the same one again, since it knows its digests by then: they take
    8 of the 50 µs that an item costs an append."""
    return NamespaceName(parts=parts, tenant=tenant, user=user, agent=agent)
