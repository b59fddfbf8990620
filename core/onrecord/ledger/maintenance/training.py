"""What a store's messages have in common: sampled, learned, and tried on others of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from onrecord.codec import compression
from onrecord.codec import segment as sealed
from onrecord.codec.compression import THOROUGH, Dictionary
from onrecord.codec.segment import Segment
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import segments, sessions, tail
from onrecord.stored.messages import MessageRow, SessionKey, SessionRow

_LAST: Final = (2**62, 2**62)
"""Behind every (active second, number)."""
MOST_SESSIONS: Final = 2_000
MOST_BYTES: Final = 8 * 2**20
"""More samples make learning slower, and what is learned hardly better."""
_A_SAMPLE: Final = 16
"""Messages in one sample: what is compressed alone is as short as this, or shorter."""
_OF_A_SESSION: Final = 64
SIZES: Final = (8, 16, 32, 64, 112)
"""Kilobytes. zstd itself takes 112 as the most that pays."""
_FEWEST: Final = 50


class Sample(NamedTuple):
    """Messages to learn from, as they would be compressed, and whose they are."""

    texts: list[bytes]
    messages: int
    sessions: dict[SessionKey, int]
    """When each began."""


class Learned(NamedTuple):
    """What was learned, and what it is worth on messages that were held back."""

    content: bytes | None
    before: int
    after: int


class Trial(NamedTuple):
    """Messages to learn from and others to try it on, and the best of what was tried."""

    texts: Sequence[bytes]
    best: Learned
    cost: float
    """What is tried on takes with the best, and the share of it that the dictionary takes."""


def sampled(txn: Transaction, most: int = MOST_BYTES, *, lasting: bool = False) -> Sample:
    """A little of the sessions that were active last: they are like those to come, and they are
    the last to expire. When one of them goes, what was learned from it has to go as well:
    ``lasting`` takes those alone that never expire."""
    texts: list[bytes] = []
    learned_from: list[SessionKey] = []
    messages = size = 0
    before = _LAST
    condition = "expires_in IS NULL" if lasting else ""
    while page := sessions.newest(txn, before, 500, condition):
        for key, name, before in page:  # noqa: B007 - the last of a page is where the next begins
            if size >= most or len(learned_from) >= MOST_SESSIONS:
                break
            session = sessions.find(txn, name)
            if session is None:
                continue
            found = _first_of(txn, session)
            samples = sample(found)
            texts += samples
            size += sum(map(len, samples))
            messages += len(found.rows)
            learned_from.append(key)
        else:
            continue
        break
    known = sessions.created_of(txn, learned_from)
    # One that has gone since it was read: it began at no time, and nothing is kept of it.
    return Sample(texts, messages, {key: known.get(key, -1) for key in learned_from})


def sample(segment: Segment) -> list[bytes]:
    """Messages as they would be compressed, a few at a time."""
    return [
        sealed.pack(Segment(segment.rows[n : n + _A_SAMPLE], segment.opens_turn[n : n + _A_SAMPLE]),
                    None, None)[0]
        for n in range(0, len(segment.rows), _A_SAMPLE)
    ]  # fmt: skip


def learned(texts: Sequence[bytes]) -> Learned:
    """Learn from four fifths, try on the last; of several sizes the one that saves the most."""
    trial = begun(texts, None)
    for size in SIZES if trial.texts else ():
        trial = tried(trial, size)
    return whole(trial).best


def begun(texts: Sequence[bytes], current: Dictionary | None) -> Trial:
    """A trial in which nothing was tried yet: it has to save something beside what is in use.
    Without texts where there are too few."""
    if len(texts) < _FEWEST:
        return Trial((), Learned(None, 0, 0), 0)
    before = _size(texts[::5], current)
    return Trial(texts, Learned(None, before, before), before)


def tried(trial: Trial, size: int) -> Trial:
    """The trial, with a dictionary of one size tried."""
    held_back, known = trial.texts[::5], [text for n, text in enumerate(trial.texts) if n % 5]
    content = compression.learn(known, size * 1024)
    if content is None:
        return trial
    after = _size(held_back, Dictionary(0, content))
    # A fifth stands for the whole: the dictionary itself is weighed against five times as much.
    cost = after + len(compression.compress(content, compression.SLOWEST)) // 5
    if cost >= trial.cost:
        return trial
    return Trial(trial.texts, Learned(content, trial.best.before, after), cost)


def whole(trial: Trial) -> Trial:
    """The trial, with its best learned from all texts: what was held back has said what it is
    worth, and now it may be learned from as well."""
    best = trial.best
    if best.content is None:
        return trial
    content = compression.learn(trial.texts, len(best.content)) or best.content
    return trial._replace(best=best._replace(content=content))


def _first_of(txn: Transaction, session: SessionRow) -> Segment:
    found: list[tuple[MessageRow, bool]] = []
    for stored in segments.overlapping(txn, session.key, 0, session.sealed):
        segment = segments.read(txn, stored, session.epoch)
        found += zip(segment.rows, segment.opens_turn, strict=True)
        if len(found) >= _OF_A_SESSION:
            break
    else:
        found += tail.page(txn, session, session.sealed, _OF_A_SESSION)
    chosen = found[:_OF_A_SESSION]
    return Segment(tuple(row for row, _ in chosen), tuple(opens for _, opens in chosen))


def _size(texts: Sequence[bytes], dictionary: Dictionary | None) -> int:
    return sum(len(compression.compress(text, THOROUGH, dictionary)) for text in texts)
