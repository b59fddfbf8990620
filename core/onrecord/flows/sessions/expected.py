"""What a writer expects of its session, and what it is told where that is not so."""

from __future__ import annotations

from onrecord.arguments import whole_number
from onrecord.errors import Cleared, Conflict, Misconfigured, shown
from onrecord.scope import SessionName
from onrecord.stored.messages import SessionRow
from onrecord.version import Expected, Since, Version, lineage_of


def checked(expected: object) -> Expected:
    """What a caller gave as ``expected``, refused before any I/O if it cannot be."""
    match expected:
        case None | Version() | Since(Version()):
            return expected
        case (int(epoch), int(head)) if isinstance(expected, tuple):
            return Version(whole_number("expected", epoch), whole_number("expected", head))
        case int() if not isinstance(expected, bool):
            return whole_number("expected", expected)
        case _:
            raise Misconfigured(
                f"expected has to be a Version, Since(a version) or a head, not {shown(expected)}."
            )


def refuse_unexpected(name: SessionName, session: SessionRow, expected: Expected) -> None:
    """Raise where a locked session, as it was read, is not at the version that was expected."""
    if expected is None:
        return
    version = session.found_at
    match expected:
        case Version() if expected == version:
            if lineage_of(expected) in (0, session.lineage):
                return
            raise Conflict(
                f"Session {name} is at {tuple(version)} as expected, and in another past: the "
                f"database fell back to an earlier state, and others wrote since. Nothing was "
                f"written. Read again what is there, and decide again.",
                version,
            )
        case Version(epoch, _) | Since(Version(epoch, _)) if session.cut_epoch > epoch:
            looked = expected.version if isinstance(expected, Since) else expected
            raise Cleared(
                f"Session {name} was cleared or rewound since version {tuple(looked)}; it is at "
                f"{tuple(version)}. Nothing was written.",
                version,
            )
        case Since():
            return
        case int() if expected == session.head:
            return
    raise Conflict(
        f"Session {name} is at {tuple(version)} and {expected!r} was expected. Nothing was "
        f"written. Read what is new, and decide again.",
        version,
    )
