"""Which messages of a session are one episode: a turn, or what was stored together.

A call and its result are never in two episodes. What others wrote between them stays between.
A system message that nobody stored as an episode is none, and stays where it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

from onrecord.blocks import ToolCall, ToolResult
from onrecord.memory.episode import ended_at, importance_in
from onrecord.memory.event import role_of
from onrecord.memory.marks import mark_of, note_key_of
from onrecord.message import CONVERSATION, Message

_DAMAGED: Final = "damaged"

Group: TypeAlias = list[int]
"""Places in a list of lines, in their order."""


class Line(NamedTuple):
    """What has to be known of a message to say where it belongs."""

    seq: int
    mark: str
    note: str
    """The key of its note."""
    ended: datetime
    kind: str
    """Of the episode that begins with it; empty where it goes on with one."""
    of: int
    """How many messages its episode has; 0 where that is not known."""
    part: int
    """Which of these it is, from 1 on."""
    importance: float
    calls: tuple[str, ...]
    answers: tuple[str, ...]
    aside: bool
    """It belongs to no episode."""
    damaged: bool
    """It cannot be read any more, and its bytes are all that is left of it."""


def line_of(message: Message) -> Line:
    """What has to be known of a message."""
    marks, blocks = message.marks, message.content
    kind, event = marks.get("episode"), marks.get("event")
    of, part = _count(marks.get("of")), 1
    if isinstance(kind, str) and kind and of:
        part = _count(marks.get("part")) or 1
        begins = kind if part == 1 else ""
    elif isinstance(event, str) and not role_of(event):
        begins, of = event, 1
    else:
        begins, of = CONVERSATION if message.opens_turn else "", 0
    return Line(
        message.seq or 0,
        mark_of(message),
        note_key_of(message),
        ended_at(message, marks),
        begins,
        of,
        part,
        importance_in(marks),
        tuple([b.id for b in blocks if isinstance(b, ToolCall) and b.id is not None]),
        _answered(message),
        message.role == "system" and not of,
        message.role == _DAMAGED,
    )


def groups(lines: Sequence[Line]) -> list[Group]:
    """Put lines together, in the order in which episodes begin."""
    found: list[Group] = []
    asked: dict[str, int] = {}
    here = -1  # the group that goes on
    waits = 0  # for how many messages of what was stored together
    whole = True  # nothing that follows belongs to it by itself
    for n, line in enumerate(lines):
        if line.aside:
            continue
        owners = sorted({asked.pop(answer) for answer in line.answers if answer in asked})
        if owners:
            here, *others = owners
            for other in others:  # one message answers calls of several
                found[here] += found[other]
                found[other] = []
            asked = {call: here if n in others else n for call, n in asked.items()}
            found[here].append(n)
            waits, whole = (max(waits - 1, 0), whole) if line.of else (0, False)
        elif here >= 0 and not line.kind and (waits > 0 if line.of else not whole):
            found[here].append(n)
            waits = max(waits - 1, 0)
        else:
            found.append([n])
            here, waits, whole = len(found) - 1, max(line.of - line.part, 0), line.of > 0
        asked.update(dict.fromkeys(line.calls, here))
    return [sorted(group) for group in found if group]


def torn(lines: Sequence[Line], group: Group) -> tuple[bool, bool]:
    """Whether something that belongs to a group may stand before all lines, or come after them."""
    of = [lines[n] for n in group]
    asked: set[str] = set()
    unheard = False
    for line in of:  # ids of calls come again, so it matters which is first
        unheard = unheard or not asked.issuperset(line.answers)
        asked.difference_update(line.answers)
        asked.update(line.calls)
    leads = all(lines[n].aside for n in range(group[0]))
    before = unheard or (leads and not of[0].kind)
    last = of[-1]
    follows = all(lines[n].aside for n in range(group[-1] + 1, len(lines)))
    behind = bool(asked) or (follows and (not last.of or last.part < last.of))
    return before, behind


def kind_of(lines: Sequence[Line], group: Group) -> str:
    """The type of an episode."""
    return lines[group[0]].kind or CONVERSATION


def _answered(message: Message) -> tuple[str, ...]:
    found = [b.tool_call_id for b in message.content if isinstance(b, ToolResult)]
    if message.role == "tool":
        found.append(message.tool_call_id)
    return tuple([one for one in found if one is not None])


def _count(given: object) -> int:
    return given if isinstance(given, int) and not isinstance(given, bool) and given > 0 else 0
