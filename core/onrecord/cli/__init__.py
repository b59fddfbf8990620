"""The command line, ``onrecord``: thin over the public API.

Commands are functions in files by subject: ``reading``, ``known``, ``state``, ``upkeep``,
``removing`` and ``moving``. What is written out goes through ``output`` alone, and a store is
opened by ``asked`` alone.
"""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["main"]

WITHOUT: Final = 'onrecord: the command line needs its extra: pip install "onrecord[cli]"\n'


def main() -> int:
    """Run the command that ``sys.argv`` names, and return the code to exit with."""
    try:
        try:
            import typer  # noqa: F401 - whether it is there
        except ModuleNotFoundError as fault:
            if fault.name != "typer":
                raise
            sys.stderr.write(WITHOUT)
            return 2
        from onrecord.cli.app import run

        return run()
    except KeyboardInterrupt:  # while it was starting
        return 130
