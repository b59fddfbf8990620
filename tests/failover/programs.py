"""The programs that a cluster is started from."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.servers.binaries import Binaries, Missing, from_machine
from tests.servers.postgres import find_postgres_binaries
from tests.servers.process import run_as, server_user

_PROGRAMS: Final = (
    "initdb",
    "pg_ctl",
    "pg_rewind",
    "pg_basebackup",
    "pg_controldata",
    "pg_isready",
)


@dataclass(frozen=True)
class Programs:
    """What a cluster is started from."""

    postgres: Binaries
    etcd: Binaries
    patroni: list[str]
    """The command, without its settings."""
    version: str
    """Patroni's."""


def find_programs(patroni: Path | None = None) -> Programs | Missing:
    """What a cluster is started from, or what there is not; with another Patroni than ours."""
    if not sys.platform.startswith("linux"):
        return Missing("make failover reads /proc, which only Linux has")
    other = None if patroni is None else from_machine([patroni])
    if patroni is not None and other is None:
        return Missing(f"{patroni} is no Patroni that the servers' user can run")
    postgres = find_postgres_binaries()
    if isinstance(postgres, Missing):
        return postgres
    absent = [name for name in _PROGRAMS if not (postgres.server.parent / name).exists()]
    if absent:
        return Missing(
            f"{postgres.origin} has no {', '.join(absent)}: Patroni needs a whole PostgreSQL "
            f"(Debian, Ubuntu: apt install postgresql)"
        )
    found = shutil.which("etcd")
    etcd = from_machine([Path(found)]) if found else None
    if etcd is None:
        return Missing("no etcd on PATH (Debian, Ubuntu: apt install etcd-server)")
    if other is not None:
        return Programs(postgres, etcd, [str(other.server)], other.version)
    return _with_our_patroni(postgres, etcd)


def _with_our_patroni(postgres: Binaries, etcd: Binaries) -> Programs | Missing:
    script = Path(sys.executable).parent / "patroni"
    if not script.exists():
        return Missing("no Patroni beside this Python: `make failover` brings its environment")
    packages = os.pathsep.join(path for path in sys.path if path.endswith("-packages"))
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        command = ["/usr/bin/env", f"PYTHONPATH={packages}", python]
        with contextlib.suppress(OSError):
            run_as(server_user(), [*command, "-c", "import patroni, psycopg, yaml"], cwd=Path("/"))
            return Programs(postgres, etcd, [*command, str(script)], version("patroni"))
    user = server_user()
    return Missing(
        f"PostgreSQL does not run as root, and {user.pw_name if user else 'its user'} can run no "
        f"Python that finds Patroni: run `make failover` as another user, or with "
        f"PYTHON=/usr/bin/python3 in a new checkout that all can read"
    )
