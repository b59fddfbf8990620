"""Round trips to Redis: a request is one run of a script, and several may be made at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct

from onrecord.cache.cache import Later
from onrecord.cache.clients import AsyncRedisCluster, NoScriptError, RedisCluster
from onrecord.cache.questions import Questions, aput_to, put_to
from onrecord.cache.scripts import Script
from onrecord.cache.within import Within

T_co = TypeVar("T_co", covariant=True)


class Request(Struct, Later[T_co], frozen=True):
    """One round trip that is still to be made."""

    script: Script
    identity: bytes
    arguments: tuple[Any, ...]
    understand: Callable[[Any], T_co]
    whatever: bool = False
    """Whether it is made also while Redis is left alone."""


class Several(Struct, Later[list[T_co]], frozen=True):
    """Requests that are made in one round trip, where a client can."""

    requests: tuple[Request[T_co], ...]

    @property
    def script(self) -> Script:
        """The script that they run, or the first of them does."""
        return self.requests[0].script

    @property
    def whatever(self) -> bool:
        """Whether they are made also while Redis is left alone."""
        return all(request.whatever for request in self.requests)

    def understand(self, said: Sequence[Any]) -> list[T_co]:
        """All answers in our words."""
        return [request.understand(one) for request, one in zip(self.requests, said, strict=True)]


class Asked(Protocol[T_co]):
    """One request or several: what is the same of both."""

    @property
    def script(self) -> Script: ...
    @property
    def whatever(self) -> bool: ...
    @property
    def understand(self) -> Callable[[Any], T_co]: ...


_ASKED: Final = (Request, Several, Questions)


def request_of(answer: Later[Any]) -> Asked[Any]:
    """What is to be asked: every call of a cache in Redis is a request."""
    assert isinstance(answer, _ASKED)
    return answer


def trips_of(client: Any, asked: object) -> int:
    """In how many round trips a client asks."""
    if isinstance(asked, Questions):
        return asked.trips
    if not isinstance(asked, Several):
        return 1  # as mostly; what kind a client is takes redis-py 2 µs to say
    return len(asked.requests) if isinstance(client, RedisCluster | AsyncRedisCluster) else 1


def say(client: Any, asked: object, key_of: Callable[[Request[Any]], str]) -> Any:
    """Ask, in this thread: what Redis says, which nobody has understood yet."""
    if isinstance(asked, Questions):
        return put_to(client)
    if isinstance(asked, Request):
        return _said(client, asked, key_of(asked))
    assert isinstance(asked, Several)
    if isinstance(client, RedisCluster):
        return [_said(client, request, key_of(request)) for request in asked.requests]
    said = _pipeline(client, asked, key_of).execute(raise_on_error=False)
    for i, request in enumerate(asked.requests):
        if isinstance(said[i], NoScriptError):
            said[i] = client.eval(request.script.text, 1, key_of(request), *request.arguments)
        elif isinstance(said[i], Exception):
            raise said[i]
    return said


async def asay(
    client: Any, asked: object, key_of: Callable[[Request[Any]], str], within: Within
) -> Any:
    """Like ``say``, on the running loop."""
    if isinstance(asked, Questions):
        return await aput_to(client, within)
    if isinstance(asked, Request):
        return await _asaid(client, asked, key_of(asked))
    assert isinstance(asked, Several)
    if isinstance(client, AsyncRedisCluster):
        answers: list[Any] = []
        for request in asked.requests:
            within.again()  # each is a round trip of its own
            answers.append(await _asaid(client, request, key_of(request)))
        return answers
    said = await _pipeline(client, asked, key_of).execute(raise_on_error=False)
    for i, request in enumerate(asked.requests):
        if isinstance(said[i], NoScriptError):
            said[i] = await client.eval(request.script.text, 1, key_of(request), *request.arguments)
        elif isinstance(said[i], Exception):
            raise said[i]
    return said


def _pipeline(client: Any, asked: Several[Any], key_of: Callable[[Request[Any]], str]) -> Any:
    """Several requests, ready to be sent by a client of either kind."""
    pipeline = client.pipeline(transaction=False)
    for request in asked.requests:
        pipeline.evalsha(request.script.sha, 1, key_of(request), *request.arguments)
    return pipeline


def _said(client: Any, request: Request[Any], key: str) -> Any:
    try:
        return client.evalsha(request.script.sha, 1, key, *request.arguments)
    except NoScriptError:
        return client.eval(request.script.text, 1, key, *request.arguments)


async def _asaid(client: Any, request: Request[Any], key: str) -> Any:
    try:
        return await client.evalsha(request.script.sha, 1, key, *request.arguments)
    except NoScriptError:
        return await client.eval(request.script.text, 1, key, *request.arguments)
