"""How memory blocks are given what falls out of the window: each message once to each block.

What falls out is written down as a batch before anything else happens, in a log beside the
conversation; then it is archived; then each block takes the batches, one after the other. A block
that has taken a batch is crossed off, and a batch that nobody is left for goes. So the log is
empty but while blocks are being fed, or where one of them fails.

Any number of workers do this at once. Each change of the log is made on the version of it that
was read, or not at all, so of two who want the same only one gets it. A worker that takes a batch
for a block leaves a claim with a time; when that has passed its worker is taken for dead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeVar
from uuid import uuid4

import msgspec

from onrecord import Conflict, Message, Session, Version, Window
from onrecord.adapters.stored import seq_of
from onrecord.tokens import CountTokens, estimate

T = TypeVar("T")

LOG_AGENT: Final = "onrecord.memory"
"""Under which agent's name the logs are. Their keys are digests of the conversations' names."""
_ROLE: Final = "batch"
_PAGE: Final = 500
"""The most messages in a batch."""


class Claim(msgspec.Struct, frozen=True):
    """A claim of the one who gives a batch to a block, and when it ends."""

    by: str
    until: float


class Batch(msgspec.Struct, frozen=True):
    """Messages that have fallen out, and the blocks that have not had them."""

    id: str
    said: list[tuple[int, str]]
    """(sequence, mark): a sequence is used again after a clear, a mark is not."""
    blocks: dict[str, Claim | None]
    archived: bool = False

    def entry(self) -> Message:
        """Make the message as which the batch stands in the log."""
        (first, _), (last, _) = self.said[0], self.said[-1]
        text = f"Messages {first} to {last}, for {', '.join(self.blocks)}"
        return Message(_ROLE, text, metadata=msgspec.to_builtins(self))


class Feeder:
    """Moves what falls out of a conversation's window to its blocks."""

    def __init__(
        self,
        session: Session,
        blocks: dict[str, Callable[[list[Message]], Awaitable[None]]],
        *,
        tokens: int,
        flush: int,
        counter: CountTokens | None,
        timeout: float,
    ) -> None:
        """
        blocks   what gives messages to a block, by the block's name
        tokens   how many the active messages may have
        flush    how many make a batch: when there are too many, this much room is made at once
        timeout  the most seconds a block may take for a batch; a claim holds for twice that
        """
        self._session = session
        self._log = log_of(session)
        self._blocks = blocks
        self._tokens = tokens
        self._flush = flush
        self._counter = counter
        self._timeout = timeout

    async def feed(self) -> None:
        """Move what has fallen out, and give the blocks all that is waiting for them.

        What a block raises is raised when the others have had theirs, as an ExceptionGroup where
        several failed. A failed block is given the same again next time.
        """
        fallen = await self._fallen()
        if fallen is None and not await self._waiting():
            return
        more = True
        while more:
            more = await self._moved(fallen)
            # Their failures are held back: one must not keep the others from what is theirs.
            results = await asyncio.gather(*map(self._fed, self._blocks), return_exceptions=True)
            faults = [result for result in results if result is not None]
            if len(faults) == 1:
                raise faults[0]
            if faults:
                raise BaseExceptionGroup("Several memory blocks failed.", faults)

    # -- from the queue into the log ---------------------------------------------------------

    async def _fallen(self) -> _Fallen | None:
        """Find where the active messages are to begin, if there are too many of them."""
        shown = await self._window(self._tokens)
        if (cut := _cut(shown)) is None:
            return None
        before = await self._session.amessages(archived=False, before=cut.before, limit=2)
        if all(message.seq == cut.opening for message in before):
            return None
        # Room for more than the next message: otherwise each turn would be a batch of its own.
        return _cut(await self._window(max(1, self._tokens - self._flush)))

    async def _window(self, tokens: int) -> Window:
        return await self._session.awindow(tokens=tokens, token_counter=self._counter)

    async def _moved(self, fallen: _Fallen | None) -> bool:
        """Write down and archive what has fallen out, or a page of it; whether there is more."""
        written, more = False, False
        while True:
            version = await self._log.aversion()
            waiting = await self._waiting()
            if late := [batch for batch in waiting if not batch.archived]:
                for batch in late:
                    await self._archive(batch)
                now = [msgspec.structs.replace(batch, archived=True) for batch in waiting]
                await self._wrote(now, version)
                continue
            if written or fallen is None:
                return more
            # All that is in the log is archived by now. Whatever else is active is in no batch,
            # or the log has changed meanwhile, and then nothing is written.
            found = await self._session.amessages(
                archived=False, after=0, before=fallen.before, limit=_PAGE
            )
            said = [message for message in found if message.seq != fallen.opening]
            if not said or (await self._session.aversion()).epoch != fallen.epoch:
                return False  # the session was rewritten: where the window begins is not known
            more = len(found) == _PAGE
            batches = [self._batch(chosen) for chosen in self._chosen(said, more)]
            written = await self._wrote([*waiting, *batches], version)

    def _chosen(self, messages: Sequence[Message], more: bool) -> list[Sequence[Message]]:
        """Split what has fallen out into batches. They end where turns do, as far as that can be
        seen."""
        starts, turn, tokens = [0], 0, 0
        for i, message in enumerate(messages):
            if i and message.opens_turn:
                turn = i
                if tokens >= self._flush:
                    starts.append(i)
                    tokens = 0
            tokens += estimate(message) if message.tokens is None else message.tokens
        end = len(messages)
        if more:  # of the last one the end is not known: it is left for the next page
            end = starts.pop() if len(starts) > 1 else turn or end
        elif tokens < self._flush and len(starts) > 1:
            starts.pop()  # a small rest goes with the one before
        return [messages[start:stop] for start, stop in pairwise([*starts, end])]

    def _batch(self, messages: Sequence[Message]) -> Batch:
        said = [(seq_of(message), _mark(message)) for message in messages]
        return Batch(uuid4().hex, said, dict.fromkeys(self._blocks))

    async def _archive(self, batch: Batch) -> None:
        there = await self._said(batch)
        archived = await self._session.aarchive([seq_of(message) for message in there])
        # Between the two the session may have been cleared, and others may stand there.
        said = set(batch.said)
        if others := [seq_of(m) for m in archived if (seq_of(m), _mark(m)) not in said]:
            await self._session.aunarchive(others)

    async def _said(self, batch: Batch) -> list[Message]:
        """Read the messages of a batch that have not been taken away since."""
        (first, _), (last, _) = batch.said[0], batch.said[-1]
        found = await self._session.amessages(after=first - 1, before=last + 1)
        said = set(batch.said)
        return [message for message in found if (seq_of(message), _mark(message)) in said]

    # -- from the log to the blocks ----------------------------------------------------------

    async def _fed(self, name: str) -> None:
        """Give a block all that waits for it, in order."""
        by = uuid4().hex
        batch = await self._claimed(name, by)
        while batch is not None:
            try:
                if said := await self._said(batch):
                    async with asyncio.timeout(self._timeout):
                        await self._blocks[name](said)
            except Exception:  # whatever the block failed by: the next put tries it again
                await self._changed(lambda waiting: _settle(waiting, name, by, done=False))
                raise
            batch = await self._claimed(name, by)

    async def _claimed(self, name: str, by: str) -> Batch | None:
        """Cross the block off the batch that was claimed for it, and claim the next one.

        None where there is none, or where somebody else is at it: they go on with what follows.
        """

        def claim(waiting: list[Batch]) -> Batch | None:
            _settle(waiting, name, by, done=True)
            now = time.time()
            for i, batch in enumerate(waiting):
                if name in batch.blocks:
                    held = batch.blocks[name]
                    if not batch.archived or (held is not None and held.until > now):
                        return None
                    # By the clock of this host: hosts may differ by less than the timeout.
                    own = Claim(by, now + 2 * self._timeout)
                    waiting[i] = _with(batch, {**batch.blocks, name: own})
                    return batch
            return None

        return await self._changed(claim)

    # -- the log -----------------------------------------------------------------------------

    async def _changed(self, change: Callable[[list[Batch]], T]) -> T:
        """Change what waits, as often as it takes to be the only one who does."""
        while True:
            version = await self._log.aversion()
            waiting = await self._waiting()
            before = list(waiting)
            result = change(waiting)
            if waiting == before or await self._wrote(waiting, version):
                return result

    async def _wrote(self, waiting: Sequence[Batch], version: Version) -> bool:
        """Replace the log as it was at a version, unless it has changed since."""
        try:
            await self._log.areplace([batch.entry() for batch in waiting], expected=version)
        except Conflict:
            return False
        return True

    async def _waiting(self) -> list[Batch]:
        # By messages(), which asks SQL: a cache may lag, and nothing could be written on that.
        found = await self._log.amessages()
        return [msgspec.convert(m.metadata, Batch) for m in found if m.role == _ROLE]


class _Fallen(NamedTuple):
    """A cut: all before a sequence has fallen out of the window, but for the opening."""

    before: int
    opening: int | None
    epoch: int


def log_of(session: Session) -> Session:
    """Find the session that holds the batches a conversation's blocks have not had yet."""
    name = session.name
    return session.store.session(
        name.identity.hex(), tenant=name.tenant, user=name.user, agent=LOG_AGENT
    )


def _cut(window: Window) -> _Fallen | None:
    """Find where a window begins; a leading system message stays whatever is before it."""
    opening = window[0].seq if window and window[0].role == "system" else None
    seqs = [seq_of(message) for message in window if message.seq != opening]
    return _Fallen(min(seqs), opening, window.version.epoch) if seqs else None


def _mark(message: Message) -> str:
    """Hash what tells a message from another one in the same place, and no edit changes."""
    said = f"{message.created_at} {message.id}".encode("utf-8", "surrogatepass")
    return blake2b(said, digest_size=6).hexdigest()


def _settle(waiting: list[Batch], name: str, by: str, done: bool) -> None:
    """Cross a block off the batch claimed for it, or leave that to the next one who asks."""
    for i, batch in enumerate(waiting):
        held = batch.blocks.get(name)
        if held is not None and held.by == by:
            left = {**batch.blocks, name: None}
            if done:
                del left[name]
            waiting[i : i + 1] = [_with(batch, left)] if left else []
            return


def _with(batch: Batch, blocks: dict[str, Claim | None]) -> Batch:
    return msgspec.structs.replace(batch, blocks=blocks)


def waited(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end on a loop of its own, also where a loop is running.

    LlamaIndex's ``asyncio_run`` runs it a second time where it raised a RuntimeError, and hides
    that error.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(work)
    with ThreadPoolExecutor(1) as beside:
        return beside.submit(copy_context().run, _run, work).result()


def _run(work: Coroutine[Any, Any, T]) -> T:
    # With a factory the runner leaves the thread's own loop, if it has one, as it is.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(work)
