"""Where a run happens: a folder on the disk, and servers that nobody else uses."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers.binaries import Missing
from tests.servers.postgres import OwnPostgres, find_postgres_binaries
from tests.servers.redis import OwnRedis, find_redis_binaries


class Place:
    """Everything that rows write goes here, and is gone afterwards."""

    def __init__(self, folder: Path, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        self._names = itertools.count(1)
        self._stack = contextlib.ExitStack()
        self._postgres: OwnPostgres | None = None
        self._redis: OwnRedis | None = None

    def rounds(self, many: int, few: int) -> int:
        """How many rounds: ``few`` in a quick run."""
        return few if self.quick else many

    def file(self, what: str) -> Path:
        """The path of a database that is not there yet."""
        return self.folder / f"{what}-{next(self._names)}.db"

    @property
    def postgres(self) -> OwnPostgres:
        """A server that waits for the disk at each commit, as one does by itself."""
        if self._postgres is None:
            found = find_postgres_binaries()
            if isinstance(found, Missing):
                raise SystemExit(f"There is no PostgreSQL: {found.reason}.")
            self._postgres = OwnPostgres(found, fsync=True)
            self._stack.callback(self._postgres.close)
        return self._postgres

    def database(self) -> str:
        """The URL of an empty database."""
        return self.postgres.create_database(f"bench{next(self._names)}")

    def redis(self) -> str:
        """The URL of a Redis, which keeps nothing on the disk."""
        if self._redis is None:
            found = find_redis_binaries()
            if isinstance(found, Missing):
                raise SystemExit(f"There is no Redis: {found.reason}.")
            self._redis = OwnRedis(found)
            self._stack.callback(self._redis.close)
        return self._redis.url

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def a_place(quick: bool) -> Iterator[Place]:
    """For as long as a run takes. On the disk: TMPDIR says which."""
    with (
        tempfile.TemporaryDirectory(prefix="onrecord-bench-") as folder,
        contextlib.closing(Place(Path(folder), quick)) as place,
    ):
        yield place
