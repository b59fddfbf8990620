"""Arabic words: one spelling for what is written in several ways, and no article."""

# ruff: noqa: RUF001
from __future__ import annotations

import re
from typing import Final

_LETTERS: Final = re.compile("[\u0600-\u06ff]")
_MARKS: Final = (*range(0x064B, 0x0660), 0x0640, 0x0670)
_SPELLING: Final = str.maketrans(
    {
        "أ": "ا",
        "إ": "ا",
        "آ": "ا",
        "ٱ": "ا",
        "ى": "ي",
        "ی": "ي",
        "ة": "ه",
        "ؤ": "و",
        "ئ": "ي",
        "ک": "ك",
    }
    | {chr(mark): "" for mark in _MARKS}
)
_BEFORE: Final = ("وال", "بال", "كال", "فال", "لل", "ال")
_AFTER: Final = ("ات", "ون", "ين", "ان", "ها", "ه", "ي")


def is_arabic(word: str) -> bool:
    """Whether a word has letters of the Arabic script."""
    return _LETTERS.search(word) is not None


def spelled(word: str) -> str:
    """Write a word without vowel signs, and each letter in one of its forms."""
    return word.translate(_SPELLING)


def arabic_stem(word: str) -> str:
    """Take off the article, and an ending that says only number, gender or whose it is."""
    for before in _BEFORE:
        if word.startswith(before) and len(word) - len(before) >= 2:
            word = word[len(before) :]
            break
    for after in _AFTER:
        if word.endswith(after) and len(word) - len(after) >= 3:
            return word[: -len(after)]
    return word
