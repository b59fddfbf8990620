"""Processes that pop from one session at once: each message is given to one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from onrecord import Store
from tests.children import together

SAID = [f"m{n}" for n in range(60)]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_message_is_popped_by_two_processes(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = f"sqlite:///{tmp_path}/pop.db"
    if kind == "postgresql":
        url = request.getfixturevalue("kept_postgres_url")
    with Store(url) as store:
        store.session("s").append([("user", text) for text in SAID])

    def popping(n: int, wait: Callable[[], object]) -> list[list[str]]:
        popped: list[list[str]] = []
        with Store(url) as store:
            session = store.session("s")
            session.version()
            wait()
            while messages := session.pop(n + 1):
                popped.append([message.text for message in messages])
        return popped

    popped = [texts for batches in together(popping, 3) for texts in batches]
    assert sorted(text for texts in popped for text in texts) == sorted(SAID)
    for texts in popped:  # a run of the session's end, oldest first
        first = SAID.index(texts[0])
        assert texts == SAID[first : first + len(texts)]
    with Store(url) as store:
        assert store.session("s").messages() == []
