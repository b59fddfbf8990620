"""What a command was asked for: which store, whose, and how to answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict

from onrecord.cli import elsewhere
from onrecord.cli.output import Output
from onrecord.errors import Misconfigured
from onrecord.scope import ANY, AnyName

if TYPE_CHECKING:
    from onrecord.session import Session
    from onrecord.store import Store
    from onrecord.version import SessionInfo

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Owner(TypedDict):
    """Whose, of one owner: what is not said is the empty name."""

    tenant: str
    user: str
    agent: str


class Owners(TypedDict):
    """Whose, where there may be many."""

    tenant: AnyName
    user: AnyName
    agent: AnyName


class Asked:
    """How this command was called."""

    def __init__(self, out: Output, url: str | None, cache: str | None) -> None:
        self.out = out
        self._given: dict[str, Any] = {}
        if url:
            self._given["url"] = url
        if cache is not None:
            self._given["cache"] = cache or None

    @contextmanager
    def store(
        self,
        *,
        makes_tables: bool = False,
        embedder: str | None = None,
        replica: str | None = None,
        stale_ok: bool = True,
    ) -> Iterator[Store]:
        """Open the store that was named. Only who says so makes or changes its tables: nobody who
        looks at a store is to migrate it, or to make one where an address is misspelt."""
        from onrecord.store import Store

        if replica is not None and not stale_ok:
            raise Misconfigured(
                "--replica is asked with --stale-ok: what it shows may be old. Give both."
            )
        settings = dict(self._given)
        if replica is not None:
            settings["replica"] = replica
        if not makes_tables:
            settings["migrate"] = False
        if embedder is not None:
            settings["embedder"] = embedder
        store = Store.from_env(**settings)
        try:
            yield store
        finally:
            store.close()


def owner(tenant: str | None, user: str | None, agent: str | None) -> Owner:
    """The one owner that was named."""
    return Owner(tenant=tenant or "", user=user or "", agent=agent or "")


def owners(
    tenant: str | None, user: str | None, agent: str | None, *, everyone: bool = True
) -> Owners:
    """Whom the names stand for; one that is not given is every one, or else the empty one."""
    rest: AnyName = ANY if everyone else ""
    return Owners(
        tenant=rest if tenant is None else tenant,
        user=rest if user is None else user,
        agent=rest if agent is None else agent,
    )


def existing(
    session: Session, command: str | None = None, *, stale_ok: bool = False
) -> SessionInfo:
    """What is known of a session; NotThere where there is none, as by a misspelt name. What that
    says may name a ``command`` that takes nothing but a session's key and names."""
    info = session.info(stale_ok=stale_ok)
    if info.created_at is None and info.damaged is None:
        hint = elsewhere.hint(session, command, stale_ok=stale_ok)
        raise NotThere(f"There is no session {session.name}. {hint}")
    return info


class NotThere(Misconfigured):
    """What was named is not in the store."""


def time_of(option: str, text: str | None) -> datetime | None:
    """A time: a date, with a time of day or without, or how long ago it was."""
    if text is None:
        return None
    try:
        if (ago := _span(text)) is not None:
            return datetime.now().astimezone() - ago
        return datetime.fromisoformat(text).astimezone()
    except OverflowError:
        raise Misconfigured(
            f"{option} {text!r:.50} is before the year 1, or after 9999: no calendar here has it."
        ) from None
    except ValueError:
        raise Misconfigured(
            f"{option} {text!r:.50} is no time. Write 2026-11-30, '2026-11-30 18:00' or "
            f"2026-11-30T18:00+01:00, or how long ago it was: 90m, 12h, 7d, 2w."
        ) from None


def span_of(option: str, text: str) -> timedelta:
    """A length of time."""
    try:
        found = _span(text)
    except OverflowError:
        raise Misconfigured(f"{option} {text!r:.50} is longer than can be counted.") from None
    if found is None:
        raise Misconfigured(f"{option} {text!r:.50} is no time. Write 30s, 90m, 12h, 7d or 2w.")
    return found


def _span(text: str) -> timedelta | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if found is None:
        return None
    return timedelta(**{_UNITS[found[2]]: float(found[1])})


def pairs_of(option: str, given: Sequence[str] | None) -> dict[str, Any] | None:
    """What is given as NAME=VALUE, where a value is JSON if it can be, or else a text."""
    if not given:
        return None
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise Misconfigured(f"{option} takes NAME=VALUE, not {pair!r:.50}.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
