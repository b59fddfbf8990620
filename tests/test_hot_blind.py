"""Where Redis hides which run of it answers, a failover cannot be noticed: nothing is believed."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis as redis_py

from onrecord import Store
from tests.servers.redis import OwnRedis
from tests.turned import hits


def test_a_user_without_info_reads_as_strict(
    tmp_path: Path, own_redis: OwnRedis, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_py.Redis.from_url(own_redis.url) as admin:
        admin.execute_command("ACL", "SETUSER", "blind", "on", ">x", "~*", "+@all", "-info")
    url = own_redis.url.replace("redis://", "redis://blind:x@")
    with Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=url) as store:
        chat = store.session("k")
        chat.append(("user", "one"))
        hits(store, chat.tail)
        with Store(f"sqlite:///{tmp_path}/x.db", durability="normal") as unmarked:
            unmarked.session("k").append(("user", "two"))
        assert [m.text for m in chat.tail()] == ["one", "two"], "the hit was held against SQL"
        said = [r for r in caplog.records if "hides which run" in r.getMessage()]
        assert len(said) == 1
        cache = store.health().cache
        assert cache is not None
        assert not cache.ok
        assert "INFO" in (cache.problem or "")


def test_a_process_never_goes_back_behind_what_a_cold_read_showed(
    tmp_path: Path, own_redis: OwnRedis
) -> None:
    """Redis falls back to an older entry, its run id the same."""
    with (
        Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=own_redis.url) as store,
        Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=own_redis.url) as other,
        redis_py.Redis.from_url(own_redis.url) as client,
    ):
        store.session("k").append(("user", "one"))
        (key,) = client.keys("onrecord:*")
        old = client.lrange(key, 0, -1)
        store.session("k").append(("user", "two"))
        for read in ("messages", "count", "info"):
            reader = other.session("k")
            getattr(reader, read)()
            client.delete(key)
            client.rpush(key, *old)
            other._hot.empty()
            assert [m.text for m in reader.tail()] == ["one", "two"], read
            other._desk.known.forget()
