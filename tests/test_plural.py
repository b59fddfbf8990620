"""How many there are of something."""

from __future__ import annotations

import pytest

from onrecord.plural import many


@pytest.mark.parametrize(
    ("count", "what", "said"),
    [
        (0, "message", "0 messages"),
        (1, "message", "1 message"),
        (2_000, "message", "2,000 messages"),
        (1, "summary", "1 summary"),
        (2, "summary", "2 summaries"),
        (2, "day", "2 days"),
    ],
)
def test_a_number_with_what_it_counts(count: int, what: str, said: str) -> None:
    assert many(count, what) == said
