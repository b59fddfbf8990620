"""What a message says that it cost: the quick way for LangChain's words is the way of all words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord.usage import MOST, beyond, spent_by, total

COUNTS: st.SearchStrategy[Any] = st.one_of(
    st.integers(-1, 20), st.sampled_from([MOST, MOST + 1, 2**70, 1.5, True, None, "7", {}])
)


@given(
    said=st.fixed_dictionaries(
        {"input_token_details": st.one_of(st.dictionaries(st.just("cache_read"), COUNTS), COUNTS)},
        optional={
            "input_tokens": COUNTS,
            "output_tokens": COUNTS,
            "total_tokens": COUNTS,
            "output_token_details": st.just({"reasoning": 3}),
            "requests": COUNTS,
            "cache_read_input_tokens": COUNTS,
        },
    )
)
def test_the_quick_way_counts_as_the_other(said: dict[str, Any]) -> None:
    found = spent_by(said)
    assert found == spent_by({**said, "said by": "another"})
    if found is not None:
        assert all(type(n) is int and 0 <= n <= MOST for n in found)
        assert found[2] <= found[0]


@pytest.mark.parametrize("said", [None, {}, {"words": 3}, {"input_tokens": "3"}])
def test_what_is_not_understood_counts_for_nothing(said: dict[str, Any] | None) -> None:
    assert spent_by(said) is None


def test_sums_and_differences() -> None:
    assert total([]) is total([None]) is None
    assert total([(1, 2, 0, 1), None, (10, 20, 5, 1)]) == (11, 22, 5, 2)
    assert beyond((5, 5, 5, 1), (3, 9, 5, 1)) == (2, 0, 0, 0)
    assert beyond((5, 5, 5, 1), (5, 5, 5, 1)) is beyond(None, (1, 1, 1, 1)) is None
    assert beyond((5, 5, 5, 1), None) == (5, 5, 5, 1)
