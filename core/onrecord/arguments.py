"""Every check of an argument that more than one method takes: one kind of error for one mistake."""

from __future__ import annotations

from datetime import timedelta

from onrecord.errors import InvalidName, Misconfigured, shown
from onrecord.scope import check_name, check_owner
from onrecord.stored.clock import LONGEST_LIFE
from onrecord.stored.messages import LAST_SEQ
from onrecord.version import SessionInfo


def lifetime(what: str, given: object) -> int | None:
    """A time span as it is stored, in microseconds; None for no end."""
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


def whole_number(what: str, n: object) -> int:
    """A number of things, from 0 up; more than there can be is all of them."""
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise Misconfigured(f"{what} has to be a whole number from 0 up, not {shown(n)}.")
    return min(n, LAST_SEQ)


def check_choice(what: str, given: object, choices: tuple[str, ...]) -> None:
    """Refuse what is none of a few words."""
    if given not in choices:
        raise Misconfigured(
            f"{what} has to be {' or '.join(map(repr, choices))}, not {shown(given)}."
        )


def check_page(tenant: object, user: object, agent: object, after: object) -> None:
    """Refuse what a list cannot be asked for."""
    check_owner(tenant, user, agent)
    if after is not None and not isinstance(after, SessionInfo):
        raise Misconfigured(
            f"after has to be the last SessionInfo of the page before, not {shown(after)}."
        )


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
