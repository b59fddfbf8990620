"""Prints which cases a store passes: python -m onrecord.testing.langgraph_store module:factory"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from onrecord.testing.langgraph_store import CASES, KINDS, Factory, report, table
from onrecord.testing.langgraph_store import __doc__ as about


def _factory(named: str) -> Factory:
    module, _, name = named.partition(":")
    if not name:
        raise SystemExit(f"{named!r} names no factory. Write it as module:factory.")
    found = getattr(import_module(module), name, None)
    if not callable(found):
        raise SystemExit(f"{module} has no {name} that can be called.")
    factory: Factory = found
    return factory


def main() -> None:
    """Ask the store, print the table, and leave with 1 where a case failed."""
    options = argparse.ArgumentParser(
        prog="python -m onrecord.testing.langgraph_store",
        description=(about or "").partition("\n\n")[0],
    )
    options.add_argument("factory", help="module:factory, which gives a store or what opens one")
    options.add_argument("--only", choices=KINDS, help="ask in one kind of methods alone")
    options.add_argument("--cases", default="", help="only cases with this in their name")
    chosen = options.parse_args()
    sys.path.insert(0, "")
    results = report(
        _factory(chosen.factory),
        kinds=(chosen.only,) if chosen.only else KINDS,
        cases=[case for case in CASES if chosen.cases in case.name],
    )
    sys.stdout.write(table(results) + "\n")
    raise SystemExit(any(result.outcome == "failed" for result in results))


if __name__ == "__main__":
    main()
