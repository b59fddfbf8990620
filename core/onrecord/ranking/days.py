"""Days as terms: when a message was said, and the days that a question names."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "january jan",
            "february feb",
            "march",
            "april apr",
            "may",
            "june jun",
            "july jul",
            "august aug",
            "september sep sept",
            "october oct",
            "november nov",
            "december dec",
        ),
        1,
    )
    for name in names.split()
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY: Final = 86_400_000_000

_WRITTEN: Final = re.compile(r"\b(\d{4})-(\d{1,2})(?:-(\d{1,2}))?\b")
_WORDS: Final = re.compile(r"[a-z]+|\d+")


def is_date_word(word: str) -> bool:
    """Whether a word names a month or a year, or is a day's number."""
    word = word.lower()
    return word in _MONTHS or (word[:2].isdigit() and 1 <= len(word) <= 4) or word.isdigit()


def day_of(created: int) -> int:
    """Number the day of a moment: days since 1970, in UTC."""
    return created // _DAY


@lru_cache(maxsize=10_000)
def terms_of_day(day: int) -> tuple[str, ...]:
    """Give the terms that a message said on that day has: its year, month, both, and the day."""
    try:
        at = _EPOCH + timedelta(days=day)
    except OverflowError:
        return ()
    year, month = f"day:{at.year}", f"day:-{at.month}"
    return year, month, f"day:{at.year}-{at.month}", f"day:-{at.month}-{at.day}"


def terms_of_days(text: str) -> tuple[str, ...]:
    """Give the terms of the days, months and years that a question names."""
    text = text.lower()
    found: dict[str, None] = {}
    for year, month, day in _WRITTEN.findall(text):
        found[f"day:{year}-{int(month)}"] = None
        if day:
            found[f"day:-{int(month)}-{int(day)}"] = None
    parts = _WORDS.findall(_WRITTEN.sub(" ", text))
    for at, part in enumerate(parts):
        if (month_number := _MONTHS.get(part)) is None:
            continue
        beside = parts[max(0, at - 3) : at] + parts[at + 1 : at + 4]
        numbers = [int(number) for number in beside if number.isdigit() and len(number) <= 4]
        years = [number for number in numbers if 1900 <= number < 2200]
        days = [number for number in numbers if 1 <= number <= 31]
        if part in ("may", "march") and not numbers and parts[at - 1 : at] != ["in"]:
            continue
        found[f"day:{years[0]}-{month_number}" if years else f"day:-{month_number}"] = None
        if days:
            found[f"day:-{month_number}-{days[0]}"] = None
    if not found:
        for part in parts:
            if len(part) == 4 and part.isdigit() and 1900 <= int(part) < 2200:
                found[f"day:{int(part)}"] = None
    return tuple(found)
