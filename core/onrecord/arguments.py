"""Every check of an argument that more than one method takes: one kind of error for one mistake.

The store's methods use them, and so do adapters. What cannot be an argument is Misconfigured; a
message that cannot be stored is InvalidMessage, and a part of a scope InvalidName.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from inspect import iscoroutinefunction
from typing import Any

from onrecord.errors import InvalidName, Misconfigured, shown
from onrecord.message import Message
from onrecord.scope import check_name, check_owner
from onrecord.stored.clock import LONGEST_LIFE, microseconds
from onrecord.stored.messages import LAST_SEQ
from onrecord.version import SessionInfo


def lifetime(what: str, given: object) -> int | None:
    """Turn a time span into microseconds, as it is stored; None for no end."""
    if given is None:
        return None
    if not isinstance(given, timedelta) or given <= timedelta(0):
        raise Misconfigured(f"{what} has to be a timedelta above zero or None, not {shown(given)}.")
    span = given // timedelta(microseconds=1)
    if span > LONGEST_LIFE:
        raise Misconfigured(
            f"{what} can be 10,000 years at the most, and this is {shown(given)}. For what never "
            f"expires pass None."
        )
    return span


def time_to_live(what: str, given: object) -> int | None:
    """Turn a time to live, a timedelta or seconds, into microseconds; None for no end."""
    number = isinstance(given, int | float) and not isinstance(given, bool)
    if number and 0 < given < 10**12:  # type: ignore[operator]
        given = timedelta(seconds=given)  # type: ignore[arg-type]
    elif given is not None and not isinstance(given, timedelta):
        raise Misconfigured(
            f"{what} has to be seconds above zero, a timedelta or None, not {shown(given)}."
        )
    return lifetime(what, given)


def whole_number(what: str, n: object, least: int = 0) -> int:
    """Check a number of things; more than there can be is all of them."""
    if not isinstance(n, int) or isinstance(n, bool) or n < least:
        raise Misconfigured(f"{what} has to be a whole number from {least} up, not {shown(n)}.")
    return min(n, LAST_SEQ)


def moment(what: str, given: object) -> int | None:
    """Turn a time into microseconds since 1970, as it is stored; None stays None."""
    if given is None:
        return None
    if not isinstance(given, datetime) or given.utcoffset() is None:
        raise Misconfigured(
            f"{what} has to be a datetime with a time zone, not {shown(given)}. Use "
            f"datetime.now(timezone.utc)."
        )
    return microseconds(given)


def mapping(what: str, given: object) -> dict[Any, Any]:
    """Copy a mapping as a dict; None makes an empty one."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise Misconfigured(f"{what} has to be a mapping or None, not {shown(given)}.")
    return dict(given)


def check_title(given: object) -> None:
    """Refuse what is no title."""
    if given is not None and not isinstance(given, str):
        raise Misconfigured(f"title has to be text or None, not {shown(given)}.")


def check_list(what: str, given: object) -> None:
    """Refuse one text where several can be named: it would be taken for its letters."""
    if isinstance(given, str | bytes):
        raise Misconfigured(f"{what} has to be a list: {what}=[{shown(given)}].")
    if not isinstance(given, Iterable):
        raise Misconfigured(f"{what} has to be a list, not {shown(given)}.")


def texts(what: str, given: object) -> frozenset[str] | None:
    """Collect a list of texts; None stays None."""
    if given is None:
        return None
    check_list(what, given)
    found = set()
    for one in given:  # type: ignore[attr-defined]
        if not isinstance(one, str):
            raise Misconfigured(f"{what} has to be a list of texts, and {shown(one)} is none.")
        found.add(one)
    return frozenset(found)


def check_messages(what: str, given: object) -> None:
    """Refuse what is no window and no list of messages."""
    if given is None:
        return
    if not isinstance(given, Sequence) or not all(isinstance(one, Message) for one in given):
        raise Misconfigured(f"{what} has to be a Window or a list of Messages, not {shown(given)}.")


def check_function(what: str, given: object, kind: str, *, plain: bool = False) -> None:
    """Refuse what cannot be called; a ``plain`` function is not async: nobody awaits it."""
    if not callable(given):
        raise Misconfigured(f"{what} has to be {kind}, not {shown(given)}.")
    if plain and iscoroutinefunction(given):
        raise Misconfigured(f"{what} has to be {kind}, and not an async one.")


def check_settings(of: str, given: Iterable[str], known: Iterable[str], why: str = "") -> None:
    """Refuse a setting that there is none of: ``why`` says what to do, or which there are."""
    known = tuple(known)
    if unknown := sorted(set(given) - set(known)):
        why = why or f"It has {', '.join(known)}."
        raise Misconfigured(f"{of} has no setting {unknown[0]}. {why}")


def check_choice(what: str, given: object, choices: tuple[str, ...]) -> None:
    """Refuse what is none of a few words."""
    if given not in choices:
        raise Misconfigured(
            f"{what} has to be {' or '.join(map(repr, choices))}, not {shown(given)}."
        )


def check_after(after: object, kind: type) -> None:
    """Refuse what no page of a list can go on from."""
    if after is not None and not isinstance(after, kind):
        raise Misconfigured(
            f"after has to be the last {kind.__name__} of the page before, not {shown(after)}."
        )


def check_page(tenant: object, user: object, agent: object, after: object) -> None:
    """Refuse what a list cannot be asked for."""
    check_owner(tenant, user, agent)
    check_after(after, SessionInfo)


def check_text(what: str, given: object, longest: int) -> None:
    """Refuse what is no name, or too long for one."""
    try:
        check_name(what, given)
    except InvalidName as fault:
        raise Misconfigured(str(fault)) from None
    if len(str(given).encode()) > longest:
        raise Misconfigured(f"{what} has more than {longest} bytes.")


def check_number(what: str, given: object, least: int, most: int) -> None:
    """Refuse what is no whole number between two others."""
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
        raise Misconfigured(
            f"{what} has to be a whole number from {least} to {most:,}, not {shown(given)}."
        )


def check_range(what: str, given: object, unit: str, least: float, most: float) -> None:
    """Refuse what is no number between two others."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not least <= given <= most:
        raise Misconfigured(
            f"{what} has to be {unit} from {least:g} to {most:,}, not {shown(given)}."
        )


def check_above_zero(what: str, given: object, most: float | None = None) -> None:
    """Refuse what is no number above zero, or more than there is."""
    number = isinstance(given, int | float) and not isinstance(given, bool)
    if not number or not given > 0 or (most is not None and given > most):  # type: ignore[operator]
        end = "" if most is None else f" and at most {most:g}"
        raise Misconfigured(f"{what} has to be more than 0{end}, not {shown(given)}.")
