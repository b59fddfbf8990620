"""What a run of episodes is summed up by: a function that is given, or a list of what they said."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from onrecord.arguments import check_function
from onrecord.errors import shown
from onrecord.memory.asked import Asked, text_in
from onrecord.memory.episode import Episode
from onrecord.memory.wording import in_a_line, shortened
from onrecord.plural import many

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
    return "\n".join([f"{many(len(episodes), 'episode')}, {days}:", *said])


class Summariser:
    """Asks a function for a summary, once for both kinds."""

    def __init__(self, function: Summarise) -> None:
        check_function("summarise", function, "a function from a list of episodes to a text")
        refusal = "summarise is an async function. Use aconsolidate()."
        self._asked = Asked(function, refusal, quick=function is extract)

    def refuse_async(self) -> None:
        """Refuse, before anything is read, what nobody would await."""
        self._asked.refuse_async()

    def ask(self, episodes: list[Episode]) -> str:
        """Ask for a summary."""
        return _text_in(self._asked.ask(episodes))

    async def aask(self, episodes: list[Episode]) -> str:
        """Like ``ask``; a function that is not async runs in a thread."""
        return _text_in(await self._asked.aask(episodes))


def _text_in(answer: object) -> str:
    return text_in(
        answer,
        f"summarise has to return a text that says something, and returned {shown(answer)}. "
        f"These episodes stay as they are.",
    )


def _line(episode: Episode) -> str:
    return f"- {episode.episode_type}: {shortened(in_a_line(episode.content), _LINE)}"
