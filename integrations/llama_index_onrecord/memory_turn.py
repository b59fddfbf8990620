"""The turn in which a memory's conversation is held: from a question to its answer.

LlamaIndex tells a memory what is said, and not where a run ends. An answer ends a turn, and so does
a put that fails, and the end of the memory itself. Whatever else a run ends by, nobody hears of:
then the lease runs out.
"""

from __future__ import annotations

import _thread
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock

from onrecord import Conflict, Session
from onrecord.adapters.calls import Talk, call
from onrecord.adapters.turns import HeldSession, TurnSettings

_CONTINUED: Final = (MessageRole.USER, MessageRole.ASSISTANT, MessageRole.TOOL)
"""Whose words are a part of a turn. An assistant's answer ends it."""


def is_answer(message: ChatMessage) -> bool:
    """Whether a turn ends with a message: an assistant's that calls no tool."""
    if message.role is not MessageRole.ASSISTANT:
        return False
    calls = any(isinstance(block, ToolCallBlock) for block in message.blocks)
    return not calls and not message.additional_kwargs.get("tool_calls")


class MemoryTurn:
    """Holds one conversation, or none. Copies and pickles begin without, and it takes no part in
    equality."""

    def __init__(self) -> None:
        self._held: HeldSession | None = None
        self._ending: weakref.finalize[[HeldSession], MemoryTurn] | None = None

    def begun(self, session: Session, settings: TurnSettings) -> Talk[None]:
        """Hold a conversation because of what is asked in it, before anything of it is read."""
        yield from self._hold(session, settings, anew=False)

    def heard(self, session: Session) -> Talk[None]:
        """Give a sign of life of a turn, if there is one."""
        if (held := self._held) is not None and held.name == session.name and held.is_late():
            yield from self._kept(held.sign)

    def written(
        self,
        session: Session,
        settings: TurnSettings,
        messages: Sequence[ChatMessage],
        write: Callable[[Session], Talk[object]],
    ) -> Talk[None]:
        """Write messages into a conversation that is held meanwhile, and as long as they await an
        answer."""
        before = self._held
        held = yield from self._hold(session, settings, messages[0].role is MessageRole.USER)
        try:
            yield from write(held)
        except Exception:  # whatever it is, the run ends with it
            yield from self.end()
            raise
        last = messages[-1]
        if is_answer(last) or (held is not before and last.role not in _CONTINUED):
            yield from self.end()

    def end(self) -> Talk[None]:
        """Hold nothing any more."""
        if (held := self._forgotten()) is not None:
            yield from call(held.end)

    def _hold(self, session: Session, settings: TurnSettings, anew: bool) -> Talk[HeldSession]:
        """Hold a conversation. A question begins a turn, also where the last one was overtaken."""
        held = self._held
        if held is not None and not (held.is_here() and _are_same(held, session)):
            yield from self.end()
            held = None
        if held is None:
            held = HeldSession(session, settings)
            yield from call(held.hold)
            self._held = held
            # What a run that failed held is free as soon as its memory is.
            self._ending = weakref.finalize(self, _end_aside, held)
            self._ending.atexit = False
        elif held.is_late():
            yield from self._kept(held.hold if anew else held.sign)
        return held

    def _kept(self, keep: Callable[[], None]) -> Talk[None]:
        try:
            yield from call(keep)
        except Conflict:  # it is another's
            self._forgotten()
            raise

    def _forgotten(self) -> HeldSession | None:
        held, self._held = self._held, None
        if self._ending is not None:
            self._ending.detach()
            self._ending = None
        return held

    def __reduce__(self) -> tuple[type[MemoryTurn], tuple[()]]:
        return MemoryTurn, ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MemoryTurn)

    __hash__ = object.__hash__


def _are_same(one: Session, other: Session) -> bool:
    return one.store is other.store and one.name == other.name


def _end_aside(held: HeldSession) -> None:
    """End a turn in a thread of its own: garbage is collected in the middle of anything."""
    with suppress(RuntimeError):  # the interpreter ends
        _thread.start_new_thread(held.end, ())
