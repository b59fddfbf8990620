"""How relevant an episode is: less with age, more with use, by a rule that can be replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from onrecord.errors import Misconfigured, shown

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Trace:
    """What a rule is told of an episode."""

    age: timedelta
    """Since it happened; of a summary, since the newest that it covers. Never below zero."""
    uses: int
    """How often it was found by ``search_episodes`` or read by ``get_episode``."""
    episode_type: str
    importance: float
    """As it was given, from 0 to 1; 0.5 where nothing was said."""


Rule: TypeAlias = Callable[[Trace], float]
"""A function of a ``Trace``, to a number from 0 to 1."""


def fading(half_life: timedelta = 30 * DAY) -> Rule:
    """Make the rule that is used where none is given.

    Relevance is 1 at first and halves in a half-life. Each use makes the half-life longer by one
    more of them; an importance of 1 doubles it, and one of 0 halves it.
    """
    if not isinstance(half_life, timedelta) or half_life <= timedelta(0):
        raise Misconfigured(f"half_life has to be a timedelta above zero, not {shown(half_life)}.")

    def rule(trace: Trace) -> float:
        lives = half_life.total_seconds() * (1 + trace.uses) * 2.0 ** (2 * trace.importance - 1)
        return float(0.5 ** (trace.age.total_seconds() / lives))

    return rule


FADING: Rule = fading()
"""The rule that is used where none is given."""


def judged(rule: Rule, trace: Trace) -> float:
    """Ask a rule; Misconfigured where its answer is no relevance."""
    found: object = rule(trace)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 1:
        raise Misconfigured(
            f"relevance= has to give a number from 0 to 1, and gave {shown(found)} for {trace}."
        )
    return float(found)
