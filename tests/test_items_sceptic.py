"""Where what is asked of items meets what others do meanwhile, or names that are none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from onrecord import InvalidName, Store

OpenStore = Callable[..., Store]


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


def test_a_page_goes_on_behind_an_item_of_a_namespace_that_was_emptied(store: Store) -> None:
    """The one namespace that is left has an order of its own, in which that item never was."""
    below, items = store.items("facts", "old"), store.items("facts")
    below.put("first", 0)
    items.put_many({f"k{n}": n for n in range(5)})
    last = below.put("last", 0)
    (found,) = store.find_items(("facts",), limit=1)
    assert found == last
    below.clear()
    left = store.find_items(("facts",), after=found)
    assert sorted(item.key for item in left) == [f"k{n}" for n in range(5)]


@pytest.mark.parametrize("odd", ["a\0b", "\ud800", "x" * 513])
def test_no_database_is_asked_by_what_is_no_name(store: Store, odd: str) -> None:
    """SQLite took a NUL and PostgreSQL's driver raised, each by an error of its own."""
    items = store.items("facts")
    for ask in (
        lambda: items.list(prefix=odd),
        lambda: items.list(after=odd),
        lambda: items.put("k", 1, token=odd),
        lambda: items.put("k", 1, expected_token=odd),
    ):
        with pytest.raises(InvalidName):
            ask()
    assert items.list() == []
