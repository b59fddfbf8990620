"""Take a text apart into words, and a word into the terms it is found by.

One way for every language: letters are folded (NFKC, case, accents), English is stemmed, other
languages are the word itself, scripts that write no spaces are pairs of letters, and what has a
sign inside (``A-1017``, ``foo_bar.baz``, an address) is found whole and by its parts. What comes
out for a text must never depend on anything but the text: whoever changes it, moves ``ANALYSER``.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from onrecord.ranking.arabic import arabic_stem, is_arabic, spelled
from onrecord.ranking.english import IRREGULAR, STOP_WORDS
from onrecord.ranking.stemmer import stem

ANALYSER: Final = 1
"""Version of the analysis: moves whenever a signature would come out otherwise."""

MOST_CHARACTERS: Final = 65_536
"""A text is read up to here: what is longer is found by its beginning."""
MOST_TERMS: Final = 512
"""Distinct terms of a message; English prose of 10 kB has about as many."""
MOST_LETTERS: Final = 64
"""A word is cut here: what is longer is data, not language."""

_JOINING: Final = "._@+'\N{RIGHT SINGLE QUOTATION MARK}-"
_ASCII: Final = re.compile(r"[A-Za-z0-9]+(?:[._@+'-]+[A-Za-z0-9]+)*")

# Marks are no letters to `re`, and words of many scripts are full of them.
_MARKS: Final = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0711\u0730-\u074a\u07a6-\u07b0\u0816-\u082d\u0859-\u085b"
    "\u08d3-\u0963\u0966-\u0dff\u0e31-\u0e3a\u0e47-\u0e4e\u0eb1-\u0ebc\u0ec8-\u0ecd\u0f18-\u0fbc"
    "\u102b-\u103e\u1056-\u109d\u135d-\u135f\u1712-\u1734\u17b4-\u17d3\u18a9\u1920-\u193b\u1a17-\u1aff"
    "\u1b00-\u1b44\u1b6b-\u1b73\u1b80-\u1baa\u1be6-\u1bf3\u1c24-\u1c37\u1cd0-\u1dff\u20d0-\u20f0"
    "\u2de0-\u2dff\ua66f-\ua67d\ua6f0\ua802-\ua827\ua880-\ua8f1\ua926-\uabed\ufb1e\ufe20-\ufe2f"
)
_FLAG: Final = "[\U0001f1e6-\U0001f1ff]"
_SIGN: Final = (
    "\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u25aa-\u27bf\u2934\u2935\u2b05-\u2b55\u3030"
    "\u303d\u3297\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff"
)
_LETTER: Final = rf"(?:[^\W_]|[{_MARKS}])"
_ANY: Final = re.compile(
    rf"{_LETTER}+(?:[{re.escape(_JOINING)}]+{_LETTER}+)*|{_FLAG}{_FLAG}|[{_SIGN}]"
)

_HAN: Final = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_UNSPACED: Final = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3041-\u3096\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # Kana
    "\u1100-\u11ff\uac00-\ud7a3" + _HAN  # Hangul
)
_SCRIPTS: Final = re.compile(rf"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_IS_UNSPACED: Final = re.compile(rf"[{_UNSPACED}]")
_ALONE: Final = re.compile(
    "[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]"
)
_HANGUL: Final = re.compile("[\uac00-\ud7a3]")

_PARTS: Final = re.compile(r"[^._@+'-]+")
_CASES: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^A-Za-z0-9]+")
_CONTRACTED: Final = frozenset(("s", "t", "m", "re", "ve", "ll", "d"))

_LATIN: Final = re.compile("[\u0041-\u024f\u1e00-\u1eff\u0370-\u03ff\u1f00-\u1fff]")
_SPELLING: Final = str.maketrans(
    {
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
        "\N{CYRILLIC SMALL LETTER IO}": "\N{CYRILLIC SMALL LETTER IE}",
        "ß": "ss",
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "æ": "ae",
        "œ": "oe",
    }
)

_MOST_REMEMBERED: Final = 50_000
_terms_of: dict[str, tuple[str, ...]] = {}


def words(text: str) -> list[str]:
    """Take the words of a text as they stand, in order; stop words too."""
    text = text[:MOST_CHARACTERS]
    if text.isascii():
        return _ASCII.findall(text)
    return _ANY.findall(unicodedata.normalize("NFKC", text))


def terms_of(word: str) -> tuple[str, ...]:
    """Give the terms that a word is found by: none for a stop word, several for what has parts."""
    known = _terms_of.get(word)
    if known is None:
        known = _analysed(word[:MOST_LETTERS])
        if len(word) <= MOST_LETTERS:
            if len(_terms_of) >= _MOST_REMEMBERED:
                _terms_of.clear()
            _terms_of[word] = known
    return known


def terms(text: str) -> list[str]:
    """Give the terms of a text in order, up to ``MOST_TERMS`` distinct ones."""
    found: dict[str, None] = {}
    every: list[str] = []
    for word in words(text):
        for term in terms_of(word):
            if term not in found:
                if len(found) == MOST_TERMS:
                    return every
                found[term] = None
            every.append(term)
    return every


def folded(word: str) -> str:
    """Write a word as it is compared: case, accents and spellings that people mix are one."""
    if word.isascii():
        return word.lower()
    word = word.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if is_arabic(word):
        return spelled(word)
    if _LATIN.search(word):
        apart = unicodedata.normalize("NFD", word)
        word = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", word).translate(_SPELLING)


def _analysed(word: str) -> tuple[str, ...]:
    """Analyse a word in its own spelling: capitals inside say where an identifier has parts."""
    whole = folded(word)
    if whole.isascii() and whole.isalpha():
        if len(word) > 3 and not (word[1:].islower() or word.isupper()):
            return _with_parts(word, whole)
        return _simple(whole)
    if _IS_UNSPACED.search(whole):
        return _unspaced(whole)
    if is_arabic(whole):
        return tuple(dict.fromkeys(map(arabic_stem, _PARTS.findall(whole))))
    if "'" in whole:
        return _apostrophes(whole)
    return _with_parts(word, whole)


def _simple(word: str) -> tuple[str, ...]:
    """The term of a word of letters: its stem, unless it is too common or a letter."""
    if word in STOP_WORDS or (len(word) < 2 and word.isascii() and word.isalpha()):
        return ()
    if word.isascii() and word.isalpha():
        return (stem(IRREGULAR.get(word, word)),)
    return (word,)


def _apostrophes(word: str) -> tuple[str, ...]:
    """``she's`` is she, ``l'eau`` is eau, ``don't`` is too common."""
    parts = word.split("'")
    while len(parts) > 1 and parts[-1] in _CONTRACTED:
        if parts.pop() == "t":
            parts[-1] = parts[-1].removesuffix("n") if len(parts[-1]) > 3 else ""
    found = [term for part in parts if part for term in _analysed(part)]
    return tuple(dict.fromkeys(found))


def _with_parts(word: str, whole: str) -> tuple[str, ...]:
    """The terms of an identifier: the whole, what stands between its signs, and their parts."""
    found: dict[str, None] = {}
    for side in (whole, *whole.split("@")):
        found[_joined(side)] = None
    for part in _PARTS.findall(word):
        small = folded(part)
        for piece in (small, *(folded(piece) for piece in _CASES.findall(part))):
            for term in _simple(piece):
                found[term] = None
    return tuple(term for term in found if term)


def _joined(whole: str) -> str:
    """One spelling of a whole: ``A-1017``, ``A_1017`` and ``A1017`` are the same, 3.5 is not 35."""
    joined = whole.replace("-", "").replace("_", "").replace("+", "")
    plain = joined.isascii() and joined.isalpha()
    return (_simple(joined) or ("",))[0] if plain else joined


def _unspaced(word: str) -> tuple[str, ...]:
    """The pairs of letters of scripts without spaces; a Chinese sign stands for itself too."""
    found: dict[str, None] = {}
    for part in _SCRIPTS.findall(word):
        if not _IS_UNSPACED.match(part):
            for piece in _PARTS.findall(part):
                found.update(dict.fromkeys(_simple(piece)))
            continue
        if len(part) == 1 or _HANGUL.match(part):
            found[part[0]] = None
        for at, letter in enumerate(part):
            if _ALONE.match(letter):
                found[letter] = None
            if at:
                found[part[at - 1 : at + 1]] = None
    return tuple(found)


def is_unspaced(letter: str) -> bool:
    """Whether a letter is of a script that writes no spaces."""
    return _IS_UNSPACED.match(letter) is not None


def is_hangul(letter: str) -> bool:
    """Whether a letter is a Korean syllable."""
    return _HANGUL.match(letter) is not None
