"""The store that is asked: one flow for both kinds of methods, and a root label of its own."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
)
from typing import Any, Final, Literal, TypeAlias, TypeVar

try:
    from langgraph.store.base import BaseStore, Item, Op, Result, SearchItem
except ImportError as fault:
    raise ImportError(
        f'{fault}. onrecord.testing.langgraph_store needs it: pip install "onrecord[langgraph]"'
    ) from fault

T = TypeVar("T")
Kind: TypeAlias = Literal["sync", "async"]
"""Which of a store's methods are asked."""
Namespace: TypeAlias = tuple[str, ...]
Opener: TypeAlias = (
    BaseStore | AbstractContextManager[BaseStore] | AbstractAsyncContextManager[BaseStore]
)
"""A store, or what opens and closes one."""

KINDS: Final[tuple[Kind, ...]] = ("sync", "async")
"""Both."""
PATIENCE: Final = 60.0
"""Seconds after which an async case is given up. No case that passes comes near."""
MOMENT: Final = 0.005
ELSEWHERE: Final = 10.0
"""Seconds that a call may take on another event loop, where a store may wait for ever."""


class Wrong(AssertionError):
    """The store did something else than the case asks for; the message is one line."""


class NotSeen(Exception):
    """Another fault of the store, that its own case tells, hides what this one asks for."""


class Subject(ABC):
    """A store under question. What a case writes is below ``root``, so others' items may be there.

    The methods are coroutines for both kinds. Those of a sync subject never wait.
    """

    kind: Kind

    def __init__(self, store: BaseStore) -> None:
        self.store = store
        self.root = f"kit{secrets.token_hex(6)}"

    def ns(self, *labels: str) -> Namespace:
        """A namespace below the root."""
        return (self.root, *labels)

    @abstractmethod
    async def call(self, method: str, *args: object, **options: object) -> Any:
        """Call a method of the store, or its a-twin."""

    @abstractmethod
    async def together(self, *calls: Coroutine[Any, Any, T]) -> list[T | BaseException]:
        """Do all at once, by threads or in one tick of the loop; what they raise is returned."""

    @abstractmethod
    async def elsewhere(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do it in another thread, on an event loop of its own."""

    @abstractmethod
    async def pause(self) -> None:
        """Let a moment pass, for who asks again and again."""

    async def get(
        self, namespace: Namespace, key: str, *, refresh_ttl: bool | None = None
    ) -> Item | None:
        item: Item | None = await self.call("get", namespace, key, refresh_ttl=refresh_ttl)
        return item

    async def put(
        self, namespace: Namespace, key: str, value: Mapping[str, object], **options: object
    ) -> None:
        await self.call("put", namespace, key, value, **options)

    async def delete(self, namespace: Namespace, key: str) -> None:
        await self.call("delete", namespace, key)

    async def search(self, prefix: Namespace, **options: object) -> list[SearchItem]:
        found: list[SearchItem] = await self.call("search", prefix, **options)
        return found

    async def namespaces(self, **options: object) -> list[Namespace]:
        """List namespaces: below the root, where no prefix is given."""
        options.setdefault("prefix", (self.root,))
        found: list[Namespace] = await self.call("list_namespaces", **options)
        return found

    async def batch(self, ops: Iterable[Op]) -> list[Result]:
        results: list[Result] = await self.call("batch", ops)
        return results

    async def keys(self, prefix: Namespace, **options: object) -> list[str]:
        """The keys that a search finds, in its order."""
        return [item.key for item in await self.search(prefix, **options)]


class _Sync(Subject):
    kind = "sync"

    async def call(self, method: str, *args: object, **options: object) -> Any:
        return getattr(self.store, method)(*args, **options)

    async def together(self, *calls: Coroutine[Any, Any, T]) -> list[T | BaseException]:
        results: list[T | BaseException] = [RuntimeError("not run")] * len(calls)

        def do(n: int) -> None:
            try:
                results[n] = _finished(calls[n])
            except Exception as fault:  # is judged by the case
                results[n] = fault

        threads = [threading.Thread(target=do, args=(n,)) for n in range(len(calls))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    async def elsewhere(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        (result,) = await self.together(call())
        if isinstance(result, BaseException):
            raise result
        return result

    async def pause(self) -> None:
        time.sleep(MOMENT)  # noqa: ASYNC251 - there is no loop


class _Async(Subject):
    kind = "async"

    async def call(self, method: str, *args: object, **options: object) -> Any:
        return await getattr(self.store, f"a{method}")(*args, **options)

    async def together(self, *calls: Coroutine[Any, Any, T]) -> list[T | BaseException]:
        return await asyncio.gather(*calls, return_exceptions=True)

    async def elsewhere(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        def own_loop() -> T:
            return asyncio.run(asyncio.wait_for(call(), ELSEWHERE))

        return await asyncio.to_thread(own_loop)

    async def pause(self) -> None:
        await asyncio.sleep(MOMENT)


def ask(opener: Opener, kind: Kind, question: Callable[[Subject], Awaitable[None]]) -> None:
    """Open the store, ask it in one kind, and close it. ``Wrong`` is what the case found."""
    if kind == "sync":
        with ExitStack() as stack:
            store = opener
            if not isinstance(store, BaseStore):
                if not isinstance(store, AbstractContextManager):
                    raise TypeError(
                        "This store is opened on an event loop: ask it in the async kind only."
                    )
                store = stack.enter_context(store)
            _finished(question(_Sync(store)))
    else:
        with asyncio.Runner() as runner:
            # What a store leaves behind unanswered is no finding of its own.
            runner.get_loop().set_exception_handler(lambda loop, context: None)
            runner.run(_asked(opener, question))


async def _asked(opener: Opener, question: Callable[[Subject], Awaitable[None]]) -> None:
    async with AsyncExitStack() as stack:
        store = opener
        if not isinstance(store, BaseStore):
            if isinstance(store, AbstractContextManager):
                store = stack.enter_context(store)
            else:
                store = await stack.enter_async_context(store)
        try:
            async with asyncio.timeout(PATIENCE) as patience:
                await question(_Async(store))
        except TimeoutError:
            if patience.expired():
                raise Wrong(f"not finished after {PATIENCE:.0f} s") from None
            raise


def _finished(call: Awaitable[T]) -> T:
    """Run what never waits, without an event loop."""
    steps: Generator[Any, None, T] = call.__await__()
    try:
        next(steps)
    except StopIteration as end:
        value: T = end.value
        return value
    raise RuntimeError("a sync case waited for an event loop")


def said(fault: BaseException) -> str:
    """An exception in one line."""
    if isinstance(fault, (Wrong, NotSeen)):
        return str(fault)
    lines: Sequence[str] = str(fault).strip().splitlines() or ("",)
    text = lines[0] if len(lines[0]) <= 100 else f"{lines[0][:97]}..."
    return f"{type(fault).__name__}: {text}" if text else type(fault).__name__
