"""How an item is put, as SQL: alone, or in the very statement of an append."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

WRITTEN: Final = "namespace, key, version, created, updated, expires_at, ttl, token, body, fence"
# One that has expired and comes again began now.
OVER: Final = """ON CONFLICT (namespace, key {and_shard}) DO UPDATE SET
        version = excluded.version, updated = excluded.updated,
        created = CASE WHEN i.expires_at <= {clock} THEN excluded.created ELSE i.created END,
        expires_at = excluded.expires_at, ttl = excluded.ttl, token = excluded.token,
        body = excluded.body"""

# PostgreSQL, in a WITH, after a part called ``moved`` that has a row where the append is done: and
# so after the session's row is locked, which whoever needs both locks first.
BESIDE: Final = f"""
    kept AS (
        UPDATE {{namespaces}} SET version = version + 1
        WHERE {{my_shard}} identity = :item_namespace AND EXISTS (SELECT 1 FROM moved)
        RETURNING id, version
    ), done AS (
        INSERT INTO {{items}} AS i (shard, {WRITTEN})
        SELECT CAST(:shard AS SMALLINT), kept.id, :item_key, kept.version, :item_now, :item_now,
            {{expires}}, :ttl, :item_token, :item_body, :item_fence
        FROM kept {OVER}
        WHERE CAST(:item_told AS BIGINT) IS NULL OR i.fence IN (:item_told, excluded.fence)
        RETURNING version, created, updated, expires_at, fence)"""
DONE: Final = "done.version, done.created, done.updated, done.expires_at, done.fence"


class Beside(NamedTuple):
    """A put that goes with an append."""

    values: Mapping[str, Any]
    """Of its parameters."""
