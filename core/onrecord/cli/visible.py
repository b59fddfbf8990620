"""Stored text as a terminal may show it.

Anybody may have written it: users, models, tools, web pages that tools read. So no character of
it may drive a terminal, turn the direction of what stands beside it, or hide a text.
"""

from __future__ import annotations

import re
from typing import Final

# Control characters but tab and line feed; what sets a direction; what is not seen and carries a
# text all the same (U+E0000 and on); line separators that are none to us; halves of a character.
_HARMFUL: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u061c\u180e\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff"
)
_IN_TEXT: Final = re.compile(f"[{_HARMFUL}]")
_IN_LINE: Final = re.compile(f"[{_HARMFUL}\t\n]")
_SHORT: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\x1b": "\\e"}


def text(stored: str) -> str:
    """A text with its line breaks; what could do more than be read is written out."""
    return _IN_TEXT.sub(_written, stored.replace("\r\n", "\n")).expandtabs(4)


def line(stored: str) -> str:
    """A text on one line, every character of it to be seen: a name, a path, an address."""
    return _IN_LINE.sub(_written, stored)


def hint(stored: str, longest: int = 500) -> str:
    """The beginning of a text on one line, its white space as single spaces."""
    start = " ".join(stored[: 4 * longest].split())
    more = len(start) > longest or len(stored) > 4 * longest
    return line(f"{start[:longest]}…" if more else start)


def json_text(encoded: str) -> str:
    """JSON that means the same and drives nothing: strings are where such characters stand."""
    return _IN_TEXT.sub(_in_json, encoded)


def _written(found: re.Match[str]) -> str:
    character = found[0]
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _in_json(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
