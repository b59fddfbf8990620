"""Asks LangGraph's own stores every case, and writes their answers down, and the page about them.

python -m scripts.langgraph_stores

With --peer and --postgres it asks one, on that database, and prints its answers instead.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from scripts.langgraph_stores import answers
from scripts.langgraph_stores.page import PAGE, page
from scripts.langgraph_stores.peers import PEERS, asked, versions
from tests.scratch import choose_folder
from tests.servers.binaries import External, Missing
from tests.servers.postgres import OwnPostgres, PostgresServer, find_postgres


def main() -> None:
    about, _, more = (__doc__ or "").partition("\n")
    options = argparse.ArgumentParser(
        prog="python -m scripts.langgraph_stores",
        description=about,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--peer", choices=PEERS)
    options.add_argument("--postgres", default="", help="address of an empty database")
    chosen = options.parse_args()
    if chosen.peer:
        print(answers.written(answers.answers(asked(chosen.peer, chosen.postgres))), end="")
        return
    write()


def write() -> None:
    """Ask them all, and write the files."""
    choose_folder()
    found = find_postgres()
    if isinstance(found, Missing):
        raise SystemExit(f"PostgreSQL was not found: {found.reason}")
    server = PostgresServer(found.url) if isinstance(found, External) else OwnPostgres(found)
    try:
        told = {peer: ask(peer, server.create_database(peer.lower())) for peer in PEERS}
    finally:
        server.close()
    answers.save(versions(), told)
    PAGE.write_text(page(versions(), told))
    for file in (answers.FILE, PAGE):
        print(file)


def ask(peer: str, postgres: str) -> answers.Answers:
    """Ask a peer in a process of its own: some leave tasks and connections behind."""
    command = [sys.executable, "-m", "scripts.langgraph_stores", "--peer", peer]
    done = subprocess.run(
        [*command, "--postgres", postgres],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(f"{peer} could not be asked:\n{done.stderr}")
    return answers.read(done.stdout)


if __name__ == "__main__":
    main()
