"""Where else a session is that was not found: under which names of tenant, user and agent.

They are only told, with the options that name them: nobody's conversation is opened in the place
of another's.
"""

from __future__ import annotations

import shlex
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from onrecord.cli import visible
from onrecord.scope import ANY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onrecord.session import Session
    from onrecord.version import SessionInfo

LOOKED_AT: Final = 1_000
"""Sessions among which a key is looked for, the last active: no index has keys alone."""
_PAGE: Final = 200
_NAMED: Final = 3
_PARTS: Final = ("tenant", "user", "agent")


def hint(session: Session, command: str | None, *, stale_ok: bool) -> str:
    """What to do where a session is not there. ``command`` is one that takes nothing but its key
    and names."""
    name = session.name
    given = {part: value for part in _PARTS if (value := getattr(name, part))}
    found = _under(session, given, stale_ok)
    if not found and given:
        found = _under(session, {}, stale_ok)
    if not found:
        return (
            "Names that are not given mean the empty name: `onrecord sessions --all` lists the "
            "sessions of everybody."
        )
    named = [options(info) or "no names" for info in found]
    if len(found) > 1:
        more = ", and more" if len(found) > _NAMED else ""
        return (
            f"There are some of that key with other names: {'; '.join(named[:_NAMED])}{more}. Say "
            f"which you mean."
        )
    next_ = ""
    if command is not None:
        typed = [f"onrecord {command}", argument(name.key), options(found[0])]
        next_ = f": `{' '.join(filter(None, typed))}`"
    return f"There is one of that key with {named[0]}{next_}."


def options(info: SessionInfo) -> str:
    """The options that name whose a session is, as they are typed."""
    named = [(part, getattr(info, part)) for part in _PARTS]
    return " ".join(f"--{part} {argument(name)}" for part, name in named if name)


def argument(name: str) -> str:
    """A name as it is typed at a shell."""
    return shlex.quote(visible.line(name))


def _under(session: Session, given: dict[str, str], stale_ok: bool) -> list[SessionInfo]:
    """Sessions of the same key under some names and any others: one more than are named."""
    same = (
        info
        for info in islice(_last_active(session, given, stale_ok), LOOKED_AT)
        if info.key == session.name.key
    )
    return list(islice(same, _NAMED + 1))


def _last_active(session: Session, given: dict[str, str], stale_ok: bool) -> Iterator[SessionInfo]:
    whose: dict[str, Any] = {part: given.get(part, ANY) for part in _PARTS}
    last: SessionInfo | None = None
    while page := session.store.sessions(**whose, limit=_PAGE, after=last, stale_ok=stale_ok):
        yield from page
        last = page[-1]
