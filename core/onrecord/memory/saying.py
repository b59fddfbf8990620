"""What an ``add_message(role, content)`` refuses, because nobody means it."""

from __future__ import annotations

from typing import Final

from onrecord.errors import InvalidMessage, shown

_LONGEST_ROLE: Final = 64


def check_said(role: object, content: object, *, called: bool) -> None:
    """Refuse a text in the place of a role, and None where nothing is called or answered."""
    if isinstance(role, str) and (len(role) > _LONGEST_ROLE or any(map(str.isspace, role))):
        raise InvalidMessage(
            f"{shown(role)} is no role: a role is one word, such as user, assistant, system or "
            f"tool. The role comes first: add_message(role, content)."
        )
    if content is None and not called:
        raise InvalidMessage(
            "The content is None, and no tool is called or answered: nothing would be said. For a "
            'message without words pass "".'
        )
