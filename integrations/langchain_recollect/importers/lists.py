"""Histories in Redis, each a list: RedisChatMessageHistory of langchain-community."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Final

from langchain_recollect.importers.rows import as_bytes, said_in
from recollect import Misconfigured, Unavailable
from recollect.bringing import Conversation, Mark, Page, Row, Source, Unread, digest, printable

_AT_A_TIME: Final = 100
_WAIT: Final = 10


class Lists(Source):
    """Conversations in Redis, each a list with its newest message first."""

    def __init__(
        self, client: Any, owned: bool, where: str, key_prefix: str, wanted: list[str] | None
    ) -> None:
        self.label = key_prefix.rstrip(":") or "redis"
        self.name = f"redis:{key_prefix}"
        self._client = client
        self._owned = owned
        self._where = where
        self._prefix = key_prefix.encode("utf-8", "surrogateescape")
        self._lock = threading.Lock()
        self._seen: set[bytes] = set()
        self._whole = False
        pattern = re.sub(rb"([*?^\[\]\\-])", rb"\\\1", self._prefix) + b"*"
        self._wanted = None if wanted is None else iter(wanted)
        self._keys: Iterator[Any] = (
            client.scan_iter(match=pattern, count=1_000, _type="list")
            if wanted is None
            else iter(())
        )

    def conversations(self) -> Sequence[Conversation | Unread]:
        """The next few, in no order: Redis knows none."""
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

    def oldest(self, key: bytes, start: int, end: int) -> list[bytes]:
        """Messages of a list, counted from the oldest."""
        with self._asking():
            found = self._client.lrange(key, -end, -start - 1)
        return [as_bytes(raw) for raw in reversed(found)]

    def close(self) -> None:
        """Close the client, if it is not the caller's."""
        with self._lock:
            if self._owned:
                self._client.close()

    def _refuse_part(self) -> None:
        """A node of a cluster answers as if its keys were all."""
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
            return _List(self, key, key[len(self._prefix) :].decode())
        except UnicodeDecodeError:
            return Unread(key.decode("utf-8", "backslashreplace"), None, "its id is not UTF-8.")

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


class _List(Conversation):
    """One conversation in Redis."""

    def __init__(self, lists: Lists, key: bytes, id_: str) -> None:
        self.id = id_
        self._lists = lists
        self._key = key

    def after(self, mark: Mark, limit: int) -> Page:
        """The next rows. Nothing names a row but its place, and a list may lose its beginning:
        so the rows of the mark are looked for, and all that comes after them is new."""
        last = mark.last[-mark.read :] if mark.read else ()
        start, anew = mark.read, False
        found = self._lists.oldest(self._key, start - len(last), start + limit + 1)
        if tuple(map(digest, found[: len(last)])) == last:
            found = found[len(last) :]
        else:
            again = self._found_again(mark)
            start, anew = again or 0, again is None
            found = self._lists.oldest(self._key, start, start + limit + 1)
        # A list that began anew goes on counting: no number is used twice.
        base = int(mark.row) - start if mark.row.isdecimal() else mark.base
        numbers = range(base + start + 1, base + start + limit + 1)
        rows = [Row(str(n), raw, said_in(raw)) for n, raw in zip(numbers, found, strict=False)]
        return Page(rows, start + len(rows), len(found) > limit, anew, base)

    def _found_again(self, mark: Mark) -> int | None:
        """Where the rows of the mark end now, if any are left."""
        digests: list[str] = []
        while len(digests) < mark.read:
            end = min(len(digests) + 1_000, mark.read)
            some = self._lists.oldest(self._key, len(digests), end)
            if not some:
                break
            digests += map(digest, some)
        for end in range(len(digests), 0, -1):
            size = min(len(mark.last), end)
            if tuple(digests[end - size : end]) == mark.last[-size:]:
                return end
        return None


def connected(source: Any) -> tuple[Any, bool, str]:
    """A client, whether it is ours to close, and what it is called. Connects to nothing."""
    try:
        import redis
        import redis.asyncio
        from redis.cluster import RedisCluster
    except ImportError as fault:
        raise Misconfigured(
            'Reading Redis needs its driver: pip install "recollect[redis]"'
        ) from fault
    if isinstance(source, redis.Redis | RedisCluster):
        return source, False, "the Redis of the client you passed"
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
    return client, True, f"Redis at {shown}"
