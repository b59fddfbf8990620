"""The episodes of one session: how they are read, a few or all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from onrecord.adapters.calls import Talk, call
from onrecord.memory.episode import Episode, metadata_of
from onrecord.memory.event import NO_TIME
from onrecord.memory.grouping import Group, Line, groups, kind_of, line_of, torn
from onrecord.memory.marks import mark_of, note_key_of, public_id
from onrecord.memory.notes import NOTHING, Note, Notes
from onrecord.memory.relevance import Rule, Trace, judged
from onrecord.message import Message
from onrecord.session import Session

_PAGE: Final = 1_000
_PATIENCE: Final = 1_000
"""Messages beyond what was asked for, in which a call is looked for whose result was read."""
_AROUND: Final = 16


@dataclass(frozen=True, slots=True)
class Part:
    """What is known of an episode without what it says."""

    seqs: tuple[int, ...]
    marks: tuple[str, ...]
    """Of its messages, in their order."""
    notes: tuple[str, ...]
    """The keys of their notes. What is known of the episode is in the first of them."""
    episode_type: str
    ended: datetime
    importance: float
    damaged: bool
    """Whether a message of it cannot be read any more."""
    follows: bool
    """Whether it comes right behind the one before it: no message stands between them."""


class Shelf:
    """The episodes of a session of one agent."""

    def __init__(self, session: Session, notes: Notes, rule: Rule) -> None:
        self.session = session
        self.notes = notes
        self._rule = rule

    def newest(self, limit: int) -> Talk[list[Episode]]:
        """Read the newest episodes, the newest first: a few messages more than they have."""
        if not limit:
            return []
        size = 2 * limit + 8
        while True:
            messages = yield from call(self.session.tail, size)
            lines = [line_of(message) for message in messages]
            found = groups(lines)
            if len(messages) == size:
                found = _behind_what_is_torn(lines, found, len(messages) < 4 * limit + _PATIENCE)
                if len(found) < limit:
                    size *= 2
                    continue
            chosen = [[messages[n] for n in group] for group in found[-limit:]]
            return (yield from self.episodes(reversed(chosen)))

    def holding(self, seq: int) -> Talk[list[Message]]:
        """Read the messages of the episode in which one stands; none, where it is in none."""
        around = _AROUND
        while True:
            after = max(seq - around - 1, 0)
            messages = yield from call(self.session.messages, after=after, before=seq + around + 1)
            lines = [line_of(message) for message in messages]
            found = groups(lines)
            n = next((n for n, group in enumerate(found) if _has(lines, group, seq)), None)
            if n is None:
                return []
            early, late = torn(lines, found[n])
            early = early and after > 0
            if late:
                late = seq + around < (yield from call(self.session.head))
            if around >= _PATIENCE or not (early or late):
                return [messages[place] for place in found[n]]
            around *= 4

    def episodes(self, several: Iterable[Sequence[Message]]) -> Talk[list[Episode]]:
        """Make episodes of messages that were read."""
        given = [list(messages) for messages in several]
        keys = [note_key_of(messages[0]) for messages in given]
        notes = yield from self.notes.of(keys)
        return [
            self._episode(messages, notes.get(key, NOTHING))
            for messages, key in zip(given, keys, strict=True)
        ]

    def parts(self) -> Talk[list[Part]]:
        """Read all messages once, and say which episodes there are."""
        lines: list[Line] = []
        while True:
            after = lines[-1].seq if lines else 0
            page: list[Line] = yield from call(
                self.session.messages, after=after, limit=_PAGE, into=line_of
            )
            lines += page
            if len(page) < _PAGE:
                return [_part(lines, group) for group in groups(lines)]

    def relevance(self, part: Part, note: Note, now: datetime) -> float:
        """Ask the rule."""
        age = max(now - part.ended, timedelta(0))
        return judged(self._rule, Trace(age, note.uses, part.episode_type, part.importance))

    def read(self, parts: Sequence[Part]) -> Talk[list[list[Message]] | None]:
        """Read what episodes say; None where one of them is not there any more as it was."""
        first, last = parts[0].seqs[0], max(part.seqs[-1] for part in parts)
        found = yield from call(self.session.messages, after=first - 1, before=last + 1)
        there = {message.seq: message for message in found}
        read: list[list[Message]] = []
        for part in parts:
            messages = [there[seq] for seq in part.seqs if seq in there]
            if tuple(map(mark_of, messages)) != part.marks:
                return None
            read.append(messages)
        return read

    def _episode(self, messages: Sequence[Message], note: Note) -> Episode:
        lines, first = list(map(line_of, messages)), messages[0]
        part = _part(lines, list(range(len(lines))))
        return Episode(
            self.session.name.agent,
            part.episode_type,
            tuple(messages),
            first.created_at or NO_TIME,
            public_id(mark_of(first), self.session.name.key),
            part.importance,
            metadata_of(first),
            self.relevance(part, note, datetime.now(UTC)),
            note.uses,
            note.pinned,
        )


def kept(part: Part, notes: Mapping[str, Note]) -> bool:
    """Whether an episode stays as it is: because it is pinned, or because nobody can read it, and
    what would go are the last bytes of it."""
    # What was pinned may since be a part of a larger one.
    return part.damaged or is_pinned(part, notes)


def is_pinned(part: Part, notes: Mapping[str, Note]) -> bool:
    """Whether an episode is pinned."""
    return any(notes.get(key, NOTHING).pinned for key in part.notes)


def _part(lines: Sequence[Line], group: Group) -> Part:
    of = [lines[n] for n in group]
    return Part(
        tuple(line.seq for line in of),
        tuple(line.mark for line in of),
        tuple(line.note for line in of),
        kind_of(lines, group),
        max(line.ended for line in of),
        of[0].importance,
        any(line.damaged for line in of),
        follows=group[0] > 0 and not lines[group[0] - 1].aside,
    )


def _behind_what_is_torn(
    lines: Sequence[Line], found: Sequence[Group], patient: bool
) -> list[Group]:
    """The episodes of which nothing stands before what was read."""
    last = -1
    for n, group in enumerate(found):
        before, _ = torn(lines, group)
        if before and (patient or n == 0):
            last = n
    return list(found[last + 1 :])


def _has(lines: Sequence[Line], group: Group, seq: int) -> bool:
    return any(lines[n].seq == seq for n in group)
