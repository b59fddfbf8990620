"""What a doctor finds: how bad it is, and what to do."""

from __future__ import annotations

import textwrap
from typing import Final, Literal, TypeAlias

import msgspec

from onrecord.plural import many

Severity: TypeAlias = Literal["note", "warning", "error"]

SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")
"""The worst first."""
_WIDTH: Final = 96


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a doctor has found."""

    check: str
    """Which check found it: docs/how-to/doctor.md lists them."""
    severity: Severity
    """``error``: it does not work, or what was stored is in danger. ``warning``: it will bite.
    ``note``: worth knowing, and nothing has to be done."""
    what: str
    """What was found, with its numbers."""
    advice: str
    """What to do about it."""

    def __str__(self) -> str:
        lines = [f"{self.severity}: {self.check}: {self.what}", f"  {self.advice}"]
        return "\n".join(_wrapped(line) for line in lines)


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of ``store.doctor()``: the worst findings first."""

    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    """Those that were made, in their order."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found that is worse than a note."""
        return all(finding.severity == "note" for finding in self.findings)

    @property
    def worst(self) -> Severity | None:
        """How bad the worst finding is; None where there is none."""
        return self.findings[0].severity if self.findings else None

    def __str__(self) -> str:
        counts = [
            many(count, severity)
            for severity in SEVERITIES
            if (count := sum(one.severity == severity for one in self.findings))
        ]
        found = ", ".join(counts) or "nothing found"
        lines = [f"{many(len(self.checks), 'check')}: {found}"]
        return "\n\n".join([*lines, *map(str, self.findings)])

    def _repr_html_(self) -> str:
        from onrecord.notebook.markup import TEXT, page, tag

        return page(tag("div", str(self), style=TEXT))


def _wrapped(line: str) -> str:
    indent = "  "
    return textwrap.fill(
        line.strip(),
        _WIDTH,
        initial_indent=indent if line.startswith(" ") else "",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
