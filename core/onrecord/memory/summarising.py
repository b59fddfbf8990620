"""What a run of episodes is summed up by: a function that is given, or a list of what they said."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from inspect import iscoroutinefunction
from typing import Final, TypeAlias

from onrecord.arguments import check_function
from onrecord.errors import Misconfigured, shown
from onrecord.memory.episode import Episode

Summarise: TypeAlias = Callable[[list[Episode]], str] | Callable[[list[Episode]], Awaitable[str]]
"""A function of episodes, the oldest first, to a text; async ones for ``aconsolidate``."""

MOST: Final = 2_000
"""Characters of what ``extract`` keeps: about 500 tokens."""
_LINE: Final = 160


def extract(episodes: Sequence[Episode]) -> str:
    """Say when episodes were, and the beginning of each, the oldest first; of too many the most
    relevant. It leaves out, and puts nothing into other words."""
    first, last = episodes[0].created_at, episodes[-1].created_at
    lines = [_line(episode) for episode in episodes]
    by_worth = sorted(
        range(len(episodes)),
        key=lambda n: (-episodes[n].importance, -episodes[n].relevance, -n),
    )
    kept: set[int] = set()
    left = MOST
    for n in by_worth:
        left -= len(lines[n]) + 1
        if left < 0:
            break
        kept.add(n)
    said = [line for n, line in enumerate(lines) if n in kept]
    if over := len(lines) - len(said):
        said.append(f"- and {over} more")
    days = (
        f"{first:%Y-%m-%d}"
        if first.date() == last.date()
        else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    )
    return "\n".join([f"{len(episodes)} episodes, {days}:", *said])


class Summariser:
    """Asks a function for a summary, once for both kinds."""

    def __init__(self, function: Summarise) -> None:
        check_function("summarise", function, "a function from a list of episodes to a text")
        self._function = function
        self._is_async = iscoroutinefunction(function)

    def refuse_async(self) -> None:
        """Refuse, before anything is read, what nobody would await."""
        if self._is_async:
            raise Misconfigured("summarise is an async function. Use aconsolidate().")

    def ask(self, episodes: list[Episode]) -> str:
        """Ask for a summary."""
        return _checked(self._function(episodes))

    async def aask(self, episodes: list[Episode]) -> str:
        """Like ``ask``; a function that is not async runs in a thread."""
        if self._is_async:
            return _checked(await self._function(episodes))  # type: ignore[misc]
        return _checked(await asyncio.to_thread(self._function, episodes))


def _checked(given: object) -> str:
    if not isinstance(given, str) or not given.strip():
        raise Misconfigured(
            f"summarise has to return a text that says something, and returned {shown(given)}. "
            f"These episodes stay as they are."
        )
    return given


def _line(episode: Episode) -> str:
    text = " ".join(episode.content.split())
    text = text if len(text) <= _LINE else f"{text[: _LINE - 1]}…"
    return f"- {episode.episode_type}: {text}"
