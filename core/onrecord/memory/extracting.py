"""Sum a conversation up without a model: by choosing sentences of it.

Of each message of a user the first sentence is kept, and of everybody the sentences by which
something was decided or is named exactly. That is no summary as a person would write it: it leaves
out, and never puts into other words. It knows English words alone; first sentences are kept in
every language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from onrecord.memory.wording import in_a_line, shortened
from onrecord.message import Message

MOST: Final = 2_000
"""Characters of what is kept: about 500 tokens."""
_LINE: Final = 200
"""Characters of one sentence."""

_SENTENCE_ENDS: Final = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")  # noqa: RUF001
_DECIDES: Final = re.compile(
    r"\b(decid\w*|agreed?|chose|chosen|settled|confirm\w*|approv\w*|cancel\w*|booked|refund\w*|"
    r"promis\w*|deadline|must|let'?s|we(?:'ll| will)|i(?:'ll| will)|from now on|instead of|"
    r"remember|prefer\w*|my name is|call me|noted)\b",
    re.IGNORECASE,
)
_EXACT: Final = re.compile(r"\d")


def extract(previous: str, messages: Sequence[Message]) -> str:
    """Go on from what was extracted before: a line for each sentence, the oldest first.

    Beyond ``MOST`` characters the sentences go that decide nothing and name nothing exactly, and
    of all of a kind the oldest first.
    """
    lines = [*previous.splitlines(), *(line for message in messages for line in _lines_of(message))]
    lines = list(dict.fromkeys(lines))  # what is said again is said once
    over = sum(len(line) + 1 for line in lines) - 1 - MOST
    gone: set[int] = set()
    for weight in range(3):
        for i, line in enumerate(lines):
            if over > 0 and _weight(line) == weight:
                gone.add(i)
                over -= len(line) + 1
    return "\n".join(line for i, line in enumerate(lines) if i not in gone)


def _lines_of(message: Message) -> Iterator[str]:
    """The sentences of a message that are kept, each as a line."""
    if message.role not in ("user", "assistant"):
        return
    who = in_a_line(message.name or message.role)
    for i, sentence in enumerate(_sentences(message.text)):
        if (i == 0 and message.opens_turn) or _DECIDES.search(sentence):
            yield f"- {who}: {shortened(sentence, _LINE)}"


def _sentences(text: str) -> list[str]:
    parts = (part for line in text.splitlines() for part in _SENTENCE_ENDS.split(line))
    return [sentence for part in parts if (sentence := in_a_line(part))]


def _weight(line: str) -> int:
    """How much a line is worth: 2 where something is decided, 1 where something is exact."""
    if _DECIDES.search(line):
        return 2
    return 1 if _EXACT.search(line) else 0
