"""Why a target is missed: what was found by profiling, by row. Shown where it is missed."""

from __future__ import annotations

from typing import Final

REASONS: Final[dict[str, str]] = {}
