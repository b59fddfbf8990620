"""What a Redis server says of itself: its memory, what it throws away, its clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from msgspec import Struct

from onrecord.cache.cache import Later
from onrecord.cache.clients import AsyncRedisCluster, RedisCluster, ResponseError
from onrecord.cache.scripts import Script, script
from onrecord.cache.server import CacheServer
from onrecord.cache.within import Within

T_co = TypeVar("T_co", covariant=True)

_COMMANDS: Final = (("INFO",), ("CONFIG", "GET", "save"), ("TIME",))


class Questions(Struct, Later[T_co], frozen=True):
    """Questions to each server of the cache: it may allow some and refuse others."""

    understand: Callable[[Any], T_co]
    whatever: bool = True
    trips: int = len(_COMMANDS)

    @property
    def script(self) -> Script:
        """The script that asks the least: none is run here."""
        return script("ping")


def questions() -> Questions[list[CacheServer]]:
    """Ask every server what it says of itself."""
    return Questions(_servers)


def put_to(client: Any) -> dict[str, list[Any]]:
    """Put the questions, in this thread: the answers by server, and what refused to answer."""
    said: dict[str, list[Any]] = {}
    for name, where in _nodes(client):
        said[name] = []
        for command in _COMMANDS:
            try:
                said[name].append(client.execute_command(*command, **where))
            except ResponseError as fault:
                said[name].append(fault)
    return said


async def aput_to(client: Any, within: Within) -> dict[str, list[Any]]:
    """Like ``put_to``, on the running loop."""
    if isinstance(client, AsyncRedisCluster):
        await client.initialize()
    said: dict[str, list[Any]] = {}
    for name, where in _nodes(client):
        said[name] = []
        for command in _COMMANDS:
            within.again()  # each is a round trip of its own
            try:
                said[name].append(await client.execute_command(*command, **where))
            except ResponseError as fault:
                said[name].append(fault)
    return said


def _nodes(client: Any) -> list[tuple[str, dict[str, Any]]]:
    """The servers of a client by name, and how one is asked: of a cluster its masters."""
    if isinstance(client, RedisCluster | AsyncRedisCluster):
        return [(str(node.name), {"target_nodes": node}) for node in client.get_primaries()]
    return [("", {})]


def _servers(said: Mapping[str, Sequence[Any]]) -> list[CacheServer]:
    return [_server(name, *answers) for name, answers in said.items()]


def _server(name: str, info: Any, save: Any, time: Any) -> CacheServer:
    asked = zip(("INFO", "CONFIG", "TIME"), (info, save, time), strict=True)
    facts = info if isinstance(info, dict) else {}
    saves = {_text(key): _text(value) for key, value in _settings(save)}
    product = "Valkey" if "valkey_version" in facts else "Redis"
    return CacheServer(
        name=name,
        product=product,
        version=_text(facts.get("valkey_version", facts.get("redis_version"))) or None,
        replica=_text(facts.get("role")) == "slave",
        policy=_text(facts.get("maxmemory_policy")) or None,
        most=_number(facts.get("maxmemory")),
        used=_number(facts.get("used_memory")),
        machine=_number(facts.get("total_system_memory")),
        evicted=_number(facts.get("evicted_keys")) or 0,
        appends=_number(facts.get("aof_enabled")) == 1,
        saves=saves.get("save") or None,
        clock=_microseconds(time),
        refused=tuple(name for name, answer in asked if isinstance(answer, Exception)),
    )


def _settings(answer: Any) -> Iterable[tuple[Any, Any]]:
    """What CONFIG GET says, which redis-py before version 6 leaves as a list: name, value, name."""
    if isinstance(answer, dict):
        return answer.items()
    if isinstance(answer, list | tuple):
        return zip(answer[::2], answer[1::2], strict=False)
    return ()


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _number(value: Any) -> int | None:
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        return None


def _microseconds(answer: Any) -> int | None:
    if isinstance(answer, tuple | list) and len(answer) == 2:
        return int(answer[0]) * 1_000_000 + int(answer[1])
    return None
