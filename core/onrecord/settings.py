"""The settings of a store: every argument of ``Store``, in one table.

The checks of ``Store``, ``Store.from_env`` and docs/reference/settings.md, which is written by
``python -m scripts.settings``, are of this table; a test holds the signature of ``Store`` and its
docstring to it. What can be said as text can be said by the environment, and by the file that
ONRECORD_CONFIG names.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias

import msgspec

from onrecord import arguments
from onrecord.errors import Misconfigured, shown

PREFIX: Final = "ONRECORD_"
CONFIG: Final = "ONRECORD_CONFIG"
"""The variable that names a file of settings."""

Kind: TypeAlias = Literal[
    "address", "text", "words", "number", "seconds", "share", "switch", "span", "object"
]
"""address: text that may have a password in it, and is in no error. words: one of a few. switch: on
or off. span: how long something is kept, with its unit. object: what no text can say."""

_A_LONG_TIME: Final = 10 * 365 * 86_400


class SettingWithoutEffect(UserWarning):
    """A setting was given that changes nothing beside the others."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One argument of ``Store``."""

    name: str
    kind: Kind
    does: str
    """As the docstring of ``Store`` has it."""
    default: Any = None
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    needs: str | None = None
    """Without what it has no effect, in words."""

    @property
    def variable(self) -> str | None:
        """The environment variable that sets it; None where no text can."""
        return None if self.kind == "object" else f"{PREFIX}{self.name.upper()}"

    @property
    def _wanted(self) -> str:
        if self.kind == "switch" and self.choices:
            return f"true, false or {' or '.join(self.choices)}"
        return _WANTED[self.kind]

    def check(self, given: object, what: str = "") -> None:
        """Refuse what it cannot be; ``what`` is what the error calls it."""
        if given is None and self.default is None:
            return
        what = what or self.name
        match self.kind:
            case "words":
                arguments.check_choice(what, given, self.choices)
            case "number":
                arguments.check_number(what, given, int(self.least or 0), int(self.most or 0))
            case "seconds":
                arguments.check_range(what, given, "seconds", self.least or 0, self.most or 0)
            case "share":
                arguments.check_range(what, given, "a share", self.least or 0, self.most or 0)
            case "text" if self.most is not None:
                arguments.check_text(what, given, int(self.most))
            case "span":
                arguments.lifetime(what, given)
            case "switch" if not isinstance(given, bool) and given not in self.choices:
                raise Misconfigured(f"{what} has to be {self._wanted}, not {shown(given)}.")

    def read(self, text: object, what: str) -> Any:
        """What a text, or a value of a file, means for it; Misconfigured where it means nothing,
        or what it cannot be."""
        value: Any
        if self.kind == "switch" and text in self.choices:
            value = text
        else:
            value = _READ[self.kind](text) if isinstance(text, str) else _of_file(self.kind, text)
        if value is None:
            said = "" if self.kind == "address" else f", not {shown(text)}"
            raise Misconfigured(f"{what} has to be {self._wanted}{said}.")
        self.check(value, what)
        return value


SETTINGS: Final[Mapping[str, Setting]] = {
    setting.name: setting
    for setting in (
        Setting(
            name="url",
            kind="address",
            does="``sqlite:///file.db`` (the default is onrecord.db in this folder), "
            "``sqlite://`` for memory, ``postgresql://user:password@host/database``; of "
            "``host1:5432,host2:5432`` the one that takes writes is found",
        ),
        Setting(
            name="engine",
            kind="object",
            does="your own SQLAlchemy engine instead of a URL; it is never closed",
        ),
        Setting(
            name="replica",
            kind="address",
            does="PostgreSQL: the URL of a standby of the same database, which may be behind: "
            "asked only by reads that say ``stale_ok=True``",
        ),
        Setting(
            name="cache",
            kind="address",
            does="a Redis URL, or a redis-py client, or a sync and an asyncio one: the tails of "
            "sessions, shared by all processes of the store; the SQL stays the truth",
        ),
        Setting(
            name="ttl",
            kind="seconds",
            default=1800,
            least=0.01,
            most=_A_LONG_TIME,
            needs="cache=",
            does="seconds an entry of the cache lives after its last use; nothing is lost then",
        ),
        Setting(
            name="tail",
            kind="number",
            default=50,
            least=1,
            most=10_000,
            does="how many of a session's newest messages are kept close at hand",
        ),
        Setting(
            name="consistency",
            kind="words",
            default="cached",
            choices=("cached", "strict"),
            needs="cache=",
            does="``cached``: what is read from the cache is all that was acknowledged, but for "
            "rare cases that end within ``revalidate``; ``strict``: always, at the price of "
            "asking the database for the session's head",
        ),
        Setting(
            name="revalidate",
            kind="seconds",
            default=5.0,
            least=0,
            most=_A_LONG_TIME,
            needs="cache=",
            does="seconds after which a cached session is compared with the database",
        ),
        Setting(
            name="compare",
            kind="share",
            default=0.0,
            least=0,
            most=1,
            needs="cache=, or a file of SQLite",
            does="the share of cached reads, 0 to 1, that are compared with the database; "
            "``health().counters.disagreed`` has to stay 0",
        ),
        Setting(
            name="durability",
            kind="words",
            default="full",
            choices=("full", "normal"),
            does="SQLite: ``full`` survives power loss, ``normal`` the death of the process",
        ),
        Setting(
            name="compression",
            kind="words",
            default="zstd",
            choices=("zstd", "none"),
            does="``zstd`` or ``none``; may be changed at any time",
        ),
        Setting(
            name="expires_in",
            kind="span",
            does="how long after its last message a session may be pruned that says nothing else; "
            "nothing goes by itself, ``prune()`` and ``maintain()`` take it away",
        ),
        Setting(
            name="schema",
            kind="text",
            most=63,  # PostgreSQL cuts longer ones off
            does="PostgreSQL: where the tables live",
        ),
        Setting(
            name="migrate",
            kind="switch",
            default=True,
            does="create and update the tables by itself at first use",
        ),
        Setting(
            name="timeout",
            kind="seconds",
            default=5.0,
            least=0.01,
            most=86_400,
            does="seconds to wait for a lock, a connection or an answer; a database that is away "
            "for less, for a restart or an election, is waited for",
        ),
        Setting(
            name="pool_size",
            kind="number",
            default=10,
            least=1,
            most=10_000,
            does="connections at the most",
        ),
        Setting(
            name="slow",
            kind="seconds",
            least=0,
            most=86_400,
            does="seconds from which on an operation is logged as a warning, with its steps",
        ),
        Setting(
            name="telemetry",
            kind="switch",
            default=True,
            choices=("nameless",),
            does="spans and metrics for OpenTelemetry, where this process has set it up; with "
            '``"nameless"`` no span says a tenant, a user, an agent, a session, a namespace or a '
            "feed; ``False`` for none at all",
        ),
        Setting(
            name="token_counter",
            kind="object",
            does="a function of a message, or ``(name, function)``; an estimate by default",
        ),
        Setting(
            name="embedder",
            kind="text",
            does='what finds by meaning as well as by words: ``"minilm"``, a function from texts '
            "to vectors, or another that docs/how-to/embedders.md names",
        ),
    )
}

_BY_VARIABLE: Final = {s.variable: s for s in SETTINGS.values() if s.variable is not None}


def check(**given: object) -> None:
    """Refuse a value that a setting cannot have."""
    for name, value in given.items():
        SETTINGS[name].check(value)


def is_idle(name: str, value: object) -> bool:
    """Whether a setting, without what it needs, was given another value than it has by itself."""
    setting = SETTINGS[name]
    return setting.needs is not None and value != setting.default


def warn(message: str) -> None:
    """Warn who called, by whatever way: the first that is not of this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("onrecord."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, SettingWithoutEffect, stacklevel=level)


def from_environment(environ: Mapping[str, str], given: Iterable[str] = ()) -> dict[str, Any]:
    """The settings that the environment says, and below it the file that it names; without those
    that are given. Misconfigured where one cannot be."""
    given = set(given)
    file = environ.get(CONFIG)
    found = _from_file(file, given) if file else {}
    for variable, text in environ.items():
        setting = _BY_VARIABLE.get(variable)
        if setting is not None and text and setting.name not in given:
            found[setting.name] = setting.read(text, variable)
    _warn_of_unknown(environ)
    return found


def _warn_of_unknown(environ: Mapping[str, str]) -> None:
    """Warn of variables that are written nearly as one of ours: not of all others, because
    Kubernetes sets some of its own for each service, ONRECORD_PORT where one is called so."""
    known = {variable.removeprefix(PREFIX) for variable in (*_BY_VARIABLE, CONFIG)}
    for variable in sorted(environ):
        name = variable.removeprefix(PREFIX)
        if name == variable or name in known:
            continue
        if near := _nearest(name, known):
            warn(f"{variable} sets nothing. Did you mean {PREFIX}{near}?")


def _from_file(path: str, given: set[str]) -> dict[str, Any]:
    where = f"{CONFIG} names {path!r}"
    import tomllib  # here alone it is needed

    try:
        with open(path, "rb") as file:
            parsed = tomllib.load(file)
    except OSError as fault:
        raise Misconfigured(f"{where}, which cannot be read: {fault.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        # Where it is, and no more: the line may hold a password.
        at = re.search(r"\(at [^()]*\)$", str(fault))
        raise Misconfigured(
            f"{where}, which is no TOML{'' if at is None else f' {at[0]}'}."
        ) from None
    table = parsed.get("onrecord", parsed)
    if not isinstance(table, dict):
        raise Misconfigured(f"{where}, in which onrecord is no table.")
    found = {}
    for name, value in table.items():
        setting = SETTINGS.get(name)
        if setting is None or setting.variable is None:
            near = _nearest(name, [s.name for s in _BY_VARIABLE.values()])
            advice = (
                "That cannot be said as text: pass it to Store."
                if setting is not None
                else f"Did you mean {near!r}?"
                if near
                else "docs/reference/settings.md has those that there are."
            )
            raise Misconfigured(f"{where}, and there is no setting {name!r} in a file. {advice}")
        if name not in given:
            found[name] = setting.read(value, f"{name} in {path!r}")
    return found


def _nearest(name: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches  # only for a mistake

    return next(iter(get_close_matches(name, list(known), 1, 0.75)), None)


# -- what a text means -----------------------------------------------------------------------------

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_PART: Final = r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])\s*"
_PARTS: Final = re.compile(f"(?:{_PART})+")
_ISO: Final = re.compile(
    r"P(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?"
    r"(?:T(?=\d)(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)
_SWITCHES: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_WANTED: Final[Mapping[Kind, str]] = {
    "address": "text",
    "text": "text",
    "words": "text",
    "number": "a whole number",
    "seconds": "a number of seconds, or a time as '1h30m', '500ms' or 'PT30M'",
    "share": "a number",
    "switch": "true or false",
    "span": "a time with its unit, as '90d', '12h' or 'P90D'",
}
"""What a text, or a value of a file, has to be."""


def duration(text: str) -> float | None:
    """The seconds of a time as ``90d``, ``1h30m`` or, in ISO 8601, ``PT90M``; None where it is
    none. A year and a month are as long as they like, and are none."""
    text = text.strip()
    if _PARTS.fullmatch(text.lower()):
        parts = re.findall(_PART, text.lower())
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    iso = _ISO.fullmatch(text.upper())
    if iso is None or not any(iso.groups()):
        return None
    return sum(float(n) * _UNITS[unit] for unit, n in iso.groupdict().items() if n is not None)


def _seconds(text: str) -> float | None:
    found = _number(text)
    return duration(text) if found is None else found


def _span(text: str) -> timedelta | None:
    seconds = duration(text)
    try:
        return None if seconds is None else timedelta(seconds=seconds)
    except OverflowError:
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


_READ: Final[Mapping[Kind, Callable[[str], Any]]] = {
    "address": str,
    "text": str,
    "words": str,
    "number": _whole,
    "seconds": _seconds,
    "share": _number,
    "switch": lambda text: _SWITCHES.get(text.strip().lower()),
    "span": _span,
}


def _of_file(kind: Kind, value: object) -> object:
    """A value of a file that is no text; None where it is not of the kind."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "number" if isinstance(value, int) and is_number:
            return value
        case "seconds" | "share" if is_number:
            return value
        case "switch" if isinstance(value, bool):
            return value
    return None
