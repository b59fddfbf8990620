"""What adapters share."""

from __future__ import annotations

import asyncio

from recollect import Message, Store
from recollect.adapting import OnlyContent


def test_only_content_is_all_there_is() -> None:
    with Store("sqlite://") as store:
        chat = store.session("k")
        chat.append([("user", "a"), Message("assistant", "b", name="ann", metadata={"k": 1})])
        only = chat.messages(into=OnlyContent(lambda message: message))
        assert only == asyncio.run(chat.amessages(into=OnlyContent(lambda message: message)))
        for bare, whole in zip(only, chat.messages(), strict=True):
            assert (bare.id, bare.seq, bare.created_at, bare.tokens) == (None, None, None, None)
            assert whole.id is not None
            assert (bare.role, bare.content, bare.name, bare.metadata) == (
                whole.role,
                whole.content,
                whole.name,
                whole.metadata,
            )
        assert chat.messages(archived=False, into=OnlyContent(str)) == list(map(str, only))
