"""Stem English words by the published Snowball rules (Porter's second stemmer)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

_VOWELS: Final = frozenset("aeiouy")
_VOWEL_AND_CONSONANT: Final = re.compile("[aeiouy][^aeiouy]", re.DOTALL)
_DOUBLES: Final = ("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt")
_AFTER_LI: Final = frozenset("cdeghkmnrt")
_BEGINNINGS: Final = (
    "gener",
    "commun",
    "arsen",
    "past",
    "univers",
    "later",
    "emerg",
    "organ",
    "inter",
)

_WHOLE: Final = {
    "skis": "ski",
    "skies": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "idly": "idl",
    "gently": "gentl",
    "ugly": "ugli",
    "early": "earli",
    "only": "onli",
    "singly": "singl",
    "sky": "sky",
    "news": "news",
    "howe": "howe",
    "atlas": "atlas",
    "cosmos": "cosmos",
    "bias": "bias",
    "andes": "andes",
}
"""Words the rules would spoil."""
_UNCHANGED: Final = "inning outing canning herring earring evening proceed exceed succeed"
_AFTER_PLURAL: Final = frozenset(_UNCHANGED.split())


_Endings: TypeAlias = Mapping[str, Sequence[tuple[str, str]]]


def _longest_first(pairs: Iterable[tuple[str, str]]) -> _Endings:
    """Endings and what stands in their place, by their last letter: few words have to look."""
    found: dict[str, list[tuple[str, str]]] = {}
    for pair in sorted(pairs, key=lambda pair: (-len(pair[0]), pair[0])):
        found.setdefault(pair[0][-1], []).append(pair)
    return found


_SECOND: Final = _longest_first(
    [
        ("tional", "tion"),
        ("enci", "ence"),
        ("anci", "ance"),
        ("abli", "able"),
        ("entli", "ent"),
        ("izer", "ize"),
        ("ization", "ize"),
        ("ational", "ate"),
        ("ation", "ate"),
        ("ator", "ate"),
        ("alism", "al"),
        ("aliti", "al"),
        ("alli", "al"),
        ("fulness", "ful"),
        ("ousli", "ous"),
        ("ousness", "ous"),
        ("iveness", "ive"),
        ("iviti", "ive"),
        ("biliti", "ble"),
        ("bli", "ble"),
        ("ogi", "og"),
        ("ogist", "og"),
        ("fulli", "ful"),
        ("lessli", "less"),
        ("li", ""),
    ]
)
_THIRD: Final = _longest_first(
    [
        ("tional", "tion"),
        ("ational", "ate"),
        ("alize", "al"),
        ("icate", "ic"),
        ("iciti", "ic"),
        ("ical", "ic"),
        ("ful", ""),
        ("ness", ""),
        ("ative", ""),
    ]
)
_ENDINGS: Final = "al ance ence er ic able ible ant ement ment ent ism ate iti ous ive ize ion"
_FOURTH: Final = _longest_first((suffix, "") for suffix in _ENDINGS.split())


def stem(word: str) -> str:
    """Give the stem of a word in lower case; letters other than a to z stand as they are."""
    if len(word) <= 2:
        return word
    if (whole := _WHOLE.get(word)) is not None:
        return whole
    word = _mark_consonant_y(word)
    first = _region_one(word)
    second = _after_vowel_and_consonant(word, first)
    if word[-1] in "sd":
        word = _plural(word)
    if word in _AFTER_PLURAL:
        return word
    if word[-1] in "dgyY":
        word = _past(word, first)
    if len(word) > 2 and word[-1] in "yY" and word[-2] not in _VOWELS:
        word = word[:-1] + "i"
    word = _replaced(word, _SECOND, first)
    word = _third(word, first, second)
    word = _fourth(word, second)
    return _final(word, first, second).replace("Y", "y")


def _mark_consonant_y(word: str) -> str:
    """Write ``Y`` for a y that is no vowel: at the beginning, or after a vowel."""
    if "y" not in word:
        return word
    letters = list(word)
    for at, letter in enumerate(letters):
        if letter == "y" and (at == 0 or letters[at - 1] in _VOWELS):
            letters[at] = "Y"
    return "".join(letters)


def _after_vowel_and_consonant(word: str, begin: int) -> int:
    """Where the region begins: after the first consonant that follows a vowel."""
    found = _VOWEL_AND_CONSONANT.search(word, begin)
    return len(word) if found is None else found.end()


def _region_one(word: str) -> int:
    if word.startswith(_BEGINNINGS):
        return max(len(each) for each in _BEGINNINGS if word.startswith(each))
    return _after_vowel_and_consonant(word, 0)


def _has_vowel(part: str) -> bool:
    return any(letter in _VOWELS for letter in part)


def _ends_short(word: str) -> bool:
    """Whether it ends in a short syllable."""
    if len(word) == 2:
        return word[0] in _VOWELS and word[1] not in _VOWELS
    if len(word) < 3:
        return False
    before, vowel, last = word[-3], word[-2], word[-1]
    if word == "past":
        return True
    return before not in _VOWELS and vowel in _VOWELS and last not in _VOWELS and last not in "wxY"


def _plural(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and _has_vowel(word[:-2]):
        return word[:-1]
    return word


def _past(word: str, first: int) -> str:
    for suffix in ("eedly", "eed"):
        if word.endswith(suffix):
            at = len(word) - len(suffix)
            return word[:at] + "ee" if at >= first else word
    for suffix in ("ingly", "edly", "ing", "ed"):
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            return _mended(rest, first) if _has_vowel(rest) else word
    return word


def _mended(rest: str, first: int) -> str:
    """Give back the ``e``, or take the doubled letter, that an ending had cost or brought."""
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if rest.endswith(_DOUBLES):
        return rest if len(rest) == 3 and rest[0] in "aeo" else rest[:-1]
    return rest + "e" if first >= len(rest) and _ends_short(rest) else rest


def _replaced(word: str, pairs: _Endings, region: int) -> str:
    for suffix, instead in pairs.get(word[-1], ()):
        if not word.endswith(suffix):
            continue
        at = len(word) - len(suffix)
        if at < region:
            return word
        before = word[at - 1] if at else ""
        if (suffix == "li" and before not in _AFTER_LI) or (suffix == "ogi" and before != "l"):
            return word
        return word[:at] + instead
    return word


def _third(word: str, first: int, second: int) -> str:
    region = second if word.endswith("ative") else first
    return _replaced(word, _THIRD, region)


def _fourth(word: str, second: int) -> str:
    if word.endswith("ion") and (len(word) < 4 or word[-4] not in "st"):
        return word
    return _replaced(word, _FOURTH, second)


def _final(word: str, first: int, second: int) -> str:
    at = len(word) - 1
    if word.endswith("e"):
        if at >= second or (at >= first and not _ends_short(word[:-1])):
            return word[:-1]
    elif word.endswith("ll") and at >= second:
        return word[:-1]
    return word
