"""How an item is put, as SQL: alone, or in the very statement of an append."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

WRITTEN: Final = "namespace, key, version, created, updated, expires_at, ttl, token, body, fence"
# One that has expired and comes again began now. PostgreSQL takes 2 µs to say what the time is, so
# it is asked only of what expires.
_OVER: Final = """ON CONFLICT (namespace, key {and_shard}) DO UPDATE SET
        version = excluded.version, updated = excluded.updated, body = excluded.body,
        created = CASE WHEN i.expires_at IS NULL THEN i.created
            WHEN i.expires_at <= {clock_over} THEN excluded.created ELSE i.created END,"""
OVER: Final = f"""{_OVER}
        expires_at = excluded.expires_at, ttl = excluded.ttl, token = excluded.token"""
# Of what is put for good, without a token: what it has besides is not sent, and not answered.
WRITTEN_FOR_GOOD: Final = "namespace, key, version, created, updated, body, fence"
OVER_FOR_GOOD: Final = f"{_OVER} expires_at = NULL, ttl = NULL, token = NULL"

# PostgreSQL, in a WITH, after a part called ``moved`` that has a row where the append is done: and
# so after the session's row is locked, which whoever needs both locks first.
BESIDE: Final = f"""
    kept AS (
        UPDATE {{namespaces}} SET version = {{greatest}}(version + 1, {{clock}})
        WHERE {{my_shard}} identity = :item_namespace AND EXISTS (SELECT 1 FROM moved)
        RETURNING id, version
    ), done AS (
        INSERT INTO {{items}} AS i (shard, {WRITTEN_FOR_GOOD})
        SELECT CAST(:shard AS SMALLINT), kept.id, :item_key, kept.version, :item_now, :item_now,
            :item_body, :item_fence
        FROM kept {OVER_FOR_GOOD}
        WHERE CAST(:item_told AS BIGINT) IS NULL OR i.fence IN (:item_told, excluded.fence)
        RETURNING version, created, fence)"""
DONE: Final = "done.version, done.created, done.fence"


class Beside(NamedTuple):
    """A put that goes with an append."""

    values: Mapping[str, Any]
    """Of its parameters."""
