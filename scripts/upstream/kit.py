"""Runs LangGraph's conformance kit out of a folder: the branch's is ahead of what is published.

python -m scripts.upstream.kit folder
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from scripts.upstream.stores import a_store, a_tenant


def main() -> None:
    """Write what each test came to where UPSTREAM_RESULTS says."""
    import langgraph.checkpoint

    langgraph.checkpoint.__path__ = [
        str(Path(sys.argv[1]) / "langgraph" / "checkpoint"),
        *langgraph.checkpoint.__path__,
    ]
    from langgraph.checkpoint.conformance import checkpointer_test, validate
    from langgraph.checkpoint.conformance.report import ProgressCallbacks

    came_to: dict[str, str] = {}
    why: dict[str, str] = {}

    def note(capability: str, name: str, passed: bool, error: str | None) -> None:
        came_to[f"{capability}::{name}"] = "passed" if passed else "failed"
        if error:
            why[f"{capability}::{name}"] = error.strip().splitlines()[-1][:300]

    @checkpointer_test(name="the saver")
    async def savers() -> AsyncIterator[Any]:
        if os.environ["UPSTREAM_OURS"] == "1":
            from langgraph_onrecord import OnrecordSaver

            with a_store() as store:
                yield OnrecordSaver(store, tenant=a_tenant())
            return
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
            yield saver

    asyncio.run(validate(savers, progress=ProgressCallbacks(on_test_result=note)))
    Path(os.environ["UPSTREAM_RESULTS"]).write_text(json.dumps({"came_to": came_to, "why": why}))


if __name__ == "__main__":
    main()
