"""Lists of events or of episodes, as people look at them."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final, Generic, TypeVar

from onrecord.memory.episode import Episode
from onrecord.memory.event import Event

T = TypeVar("T", bound=Event | Episode)

_LONGEST: Final = 1_000
"""Characters of a text in a table: what a notebook shows is saved in its file."""
_CELL: Final = "text-align: left; vertical-align: top; white-space: pre-wrap"


class Findings(list[T], Generic[T]):
    """Events or episodes, in the order in which they were asked for."""

    def __init__(self, found: Iterable[T] = (), *, complete: bool = True) -> None:
        super().__init__(found)
        self.complete = complete
        """Of a search: whether all that was said was looked at; if not, search again."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def _repr_html_(self) -> str:
        if not self:
            return "<div>Nothing.</div>"
        rows = "".join(map(_row, self))
        note = "" if self.complete else "<div>Not all was looked at: search again.</div>"
        return f"<table><thead>{_head(self[0])}</thead><tbody>{rows}</tbody></table>{note}"


def _head(one: Event | Episode) -> str:
    names = ("When", "Type", "What", "Relevance" if isinstance(one, Episode) else "Session")
    return f"<tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>"


def _row(one: Event | Episode) -> str:
    if isinstance(one, Episode):
        pinned = ", pinned" if one.pinned else ""
        cells = (f"{one.created_at:%Y-%m-%d %H:%M}", one.episode_type, one.content,
                 f"{one.relevance:.2f}{pinned}")  # fmt: skip
    else:
        said = str(one).removeprefix(f"[{one.event_type}] ")
        cells = (f"{one.timestamp:%Y-%m-%d %H:%M}", one.event_type, said, one.session_id)
    # Anybody may have written any of it; a right-to-left override ends with its element.
    shown = (f'<td style="{_CELL}"><bdi>{_cut(cell)}</bdi></td>' for cell in cells)
    return f"<tr>{''.join(shown)}</tr>"


def _cut(text: str) -> str:
    return escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
