"""LangGraph's own kit for checkpointers: every test of it, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES
from langgraph.checkpoint.conformance.spec import test_delete_for_runs as of_runs

from langgraph_recollect import RecollectSaver
from recollect import Store


def test_every_test_of_the_kit_passes(each_store: Callable[[], Store]) -> None:
    store = each_store()

    @checkpointer_test(name="RecollectSaver")
    async def savers() -> AsyncIterator[RecollectSaver]:
        yield RecollectSaver(store)

    report = asyncio.run(validate(savers))
    assert report.passed_all()
    assert report.results.keys() == {capability.value for capability in ALL_CAPABILITIES}
    for name, result in report.results.items():
        assert result.detected, name
        assert result.passed, result.failures
        assert result.tests_failed == 0
    assert sum(result.tests_passed or 0 for result in report.results.values()) >= 81
    assert report.results["delete_for_runs"].tests_passed == len(of_runs.ALL_DELETE_FOR_RUNS_TESTS)
