"""Conversations in Redis, each a list."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

from onrecord.adapters.importing.lists import Counted
from onrecord.adapters.importing.report import Unread, printable
from onrecord.adapters.importing.rows import as_bytes
from onrecord.adapters.importing.source import Conversation, RowOf, Source
from onrecord.errors import Misconfigured, Unavailable

_AT_A_TIME: Final = 100
_WAIT: Final = 10
_LOOKED_AT: Final = 8
"""How many entries of a list say whether it is a conversation."""


class Connected(NamedTuple):
    """A client to read with."""

    client: Any
    owned: bool
    """Whether it is ours to close."""
    where: str


class Lists(Source):
    """Conversations in Redis, each a list."""

    def __init__(
        self,
        connected: Connected,
        wanted: list[str] | None,
        row_of: RowOf,
        *,
        name: str,
        label: str,
        match: bytes,
        prefix: str = "",
        newest_first: bool = False,
        shared: bool = False,
        **of_lists: Any,
    ) -> None:
        """
        match         which keys are conversations, as SCAN wants it said
        prefix        what their keys begin with before the session id
        newest_first  whether messages are put before those that are there
        shared        whether there are lists of others' among them
        of_lists      what ``Counted`` can be told besides
        """
        self.name = name
        self.label = label
        self._client, self._owned, self._where = connected
        self._row_of = row_of
        self._prefix = prefix.encode("utf-8", "surrogateescape")
        self._newest_first = newest_first
        self._shared = shared
        self._of_lists = of_lists
        self._lock = threading.Lock()
        self._seen: set[bytes] = set()
        self._whole = False
        self._wanted = None if wanted is None else iter(wanted)
        self._keys: Iterator[Any] = (
            self._client.scan_iter(match=match, count=1_000, _type="list")
            if wanted is None
            else iter(())
        )

    def conversations(self) -> Sequence[Conversation | Unread]:
        """Find the next few, in no order: Redis knows none."""
        if not self._whole:
            self._refuse_part()
        if self._wanted is not None:
            return [self._asked_for(id_) for id_ in islice(self._wanted, _AT_A_TIME)]
        new: list[bytes] = []
        while not new:
            with self._asking():
                keys = [as_bytes(key) for key in islice(self._keys, _AT_A_TIME)]
            if not keys:
                break
            new = [key for key in dict.fromkeys(keys) if key not in self._seen]
        self._seen.update(new)  # SCAN may name a key more than once
        return [self._named(key) for key in new]

    def close(self) -> None:
        """Close the client, if it is not the caller's."""
        with self._lock:
            if self._owned:
                self._client.close()

    def _refuse_part(self) -> None:
        """Refuse one node of a cluster: it answers as if its keys were all there are."""
        import redis
        from redis.cluster import RedisCluster

        if not isinstance(self._client, RedisCluster):
            facts: Mapping[str, Any] = {}
            with self._asking(), suppress(redis.ResponseError):  # not everybody may ask
                facts = self._client.info("cluster")
            if facts.get("cluster_enabled"):
                raise Misconfigured(
                    f"{self._where} is one node of a cluster and has a part of the histories. "
                    f"Pass redis.cluster.RedisCluster.from_url(…) as source."
                )
        self._whole = True

    def _named(self, key: bytes) -> Conversation | Unread:
        try:
            id_ = key[len(self._prefix) :].decode()
        except UnicodeDecodeError:
            return Unread(key.decode("utf-8", "backslashreplace"), None, "its id is not UTF-8.")
        if self._shared:
            first = [self._row_of("", raw).said for raw in self._oldest(key, 0, _LOOKED_AT)]
            if first and all(isinstance(why, str) for why in first):
                why = f"it is a list of something else, and was left alone: {first[0]}"
                return Unread(printable(id_), None, why)
        return Counted(id_, partial(self._oldest, key), self._row_of, **self._of_lists)

    def _oldest(self, key: bytes, start: int, end: int) -> list[bytes]:
        first, last = (-end, -start - 1) if self._newest_first else (start, end - 1)
        with self._asking():
            found = self._client.lrange(key, first, last)
        return [as_bytes(raw) for raw in (reversed(found) if self._newest_first else found)]

    def _asked_for(self, id_: str) -> Conversation | Unread:
        key = self._prefix + id_.encode("utf-8", "surrogateescape")
        with self._asking():
            kind = as_bytes(self._client.type(key)).decode()
        if kind == "list":
            return self._named(key)
        what = "there is no such key" if kind == "none" else f"its key is a {kind} and not a list"
        return Unread(printable(id_), None, f"{what} in {self._where}.")

    @contextmanager
    def _asking(self) -> Iterator[None]:
        import redis

        with self._lock:
            try:
                yield
            except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as fault:
                raise Misconfigured(
                    f"{self._where} does not let this user read the histories: {fault}. It needs "
                    f"SCAN, TYPE and LRANGE on the keys."
                ) from fault
            except (redis.RedisError, OSError) as fault:
                raise Unavailable(
                    f"{self._where} cannot be read now: {fault}. What was brought so far is kept: "
                    f"import again when it answers."
                ) from fault
            except UnicodeDecodeError as fault:
                raise Misconfigured(
                    "The client was made with decode_responses=True, and something that it read "
                    "is not text. Pass one without it, or the URL."
                ) from fault


def connected(source: Any) -> Connected:
    """Make a client of a URL or a client. Connects to nothing."""
    try:
        import redis
        import redis.asyncio
        from redis.cluster import RedisCluster
    except ImportError as fault:
        raise Misconfigured(
            'Reading Redis needs its driver: pip install "onrecord[redis]"'
        ) from fault
    if isinstance(source, redis.Redis | RedisCluster):
        return Connected(source, False, "the Redis of the client you passed")
    if not isinstance(source, str):
        what = "an asyncio client" if isinstance(source, redis.asyncio.Redis) else "this"
        raise Misconfigured(
            f"source has to be a redis:// URL or a sync client of redis-py, and {what} is a "
            f"{type(source).__name__}."
        )
    try:
        client = redis.Redis.from_url(source, socket_timeout=_WAIT, socket_connect_timeout=_WAIT)
    except ValueError:  # what it quotes may hold a password
        raise Misconfigured(
            "The source's URL cannot be read. Write it as redis://user:password@host:6379/0; "
            "special characters in a password have to be percent-encoded. For a cluster or "
            "sentinels pass a client."
        ) from None
    place = client.get_connection_kwargs()
    shown = place.get("path") or f"{place.get('host')}:{place.get('port')}/{place.get('db', 0)}"
    return Connected(client, True, f"Redis at {shown}")
