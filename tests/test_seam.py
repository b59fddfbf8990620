"""Every stretch of a session that is mostly sealed, whatever its bounds and its limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from onrecord import Session, Store
from onrecord.ledger.sessions import sealing

LENGTH = 400
GONE = {5, 60, 61, 62, 63, 64, 150, 299}
LIMITS = (1, 3, 60, 64, 65, 130, 200, 299, None)


@pytest.fixture
def chat(
    each_store: Callable[..., Store],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Session]:
    monkeypatch.setattr(sealing, "SEGMENT", request.param)
    with each_store() as store:
        session = store.session("long")
        for n in range(0, LENGTH, 50):
            session.append([("user", f"m{i}") for i in range(n + 1, n + 51)])
        for seq in sorted(GONE):
            session.delete(seq)
        yield session


@pytest.mark.parametrize("chat", [4, 80], indirect=True)
def test_every_stretch(chat: Session) -> None:
    kept = [seq for seq in range(1, LENGTH + 1) if seq not in GONE]
    bounds = (0, 1, 4, 79, 80, 81, 161, 239, 240, 241, 298, 400)
    for limit in LIMITS:
        for low in bounds:
            after = [seq for seq in kept if seq > low]
            assert seqs(chat, after=low, limit=limit) == after[:limit]
            before = [seq for seq in kept if seq < low]
            wanted = before if limit is None else before[-limit:]
            assert seqs(chat, before=low, limit=limit) == wanted, (low, limit)
            between = [seq for seq in after if seq < low + 100]
            assert seqs(chat, after=low, before=low + 100, limit=limit) == between[:limit]
        if limit is not None:
            assert [message.seq for message in chat.tail(limit)] == kept[-limit:]
            assert [message.seq for message in chat.window(messages=limit)] == kept[-limit:]
    assert [message.seq for message in chat.scan()] == kept


def seqs(
    chat: Session,
    *,
    after: int | None = None,
    before: int | None = None,
    limit: int | None = None,
) -> list[int | None]:
    found = chat.messages(after=after, before=before, limit=limit)
    return [message.seq for message in found]
