"""The kit for LangGraph's stores: it can be passed, it bites, and the page about theirs is true."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from langgraph.store.memory import InMemoryStore

from onrecord.testing.langgraph_store import CASES, BaseStoreContract, Result, asked, report, table
from scripts.langgraph_stores import answers
from scripts.langgraph_stores.__main__ import ask
from scripts.langgraph_stores.page import PAGE, WHY, page
from scripts.langgraph_stores.peers import PEERS, versions
from tests.right_store import RightStore
from tests.wrong_stores import WRONG

ROOT = Path(__file__).parent.parent
AGAIN = "run python -m scripts.langgraph_stores"


class TestTheRightStore(BaseStoreContract):
    @pytest.fixture
    def store(self) -> RightStore:
        return RightStore()


def failed(results: list[Result]) -> set[str]:
    return {result.case.name for result in results if result.outcome == "failed"}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_noticed(wrong: str) -> None:
    factory, names = WRONG[wrong]
    chosen = [case for case in CASES if case.name in names.split()]
    assert len(chosen) == len(names.split())
    for case in chosen:
        for kind in case.kinds:
            assert asked(factory(), case, kind).outcome == "failed", f"{case.name}, {kind}"


def test_every_case_is_failed_by_somebody() -> None:
    """One that nobody fails, of the peers or of the wrong ones, would ask nothing."""
    noticed = {name for _, names in WRONG.values() for name in names.split()}
    for told in answers.load()[1].values():
        noticed |= {
            name
            for name, of_case in told.items()
            if any(outcome == "failed" for outcome, _ in of_case.values())
        }
    assert noticed == {case.name for case in CASES}


def test_names_are_told_once() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({case.sentence for case in CASES}) == len(CASES)


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS)
def test_each_peer_answers_as_it_is_written(peer: str, postgres_url: str) -> None:
    """With the packages that are locked. Others are only told about: see `make test-newest`."""
    told = outcomes(ask(peer, postgres_url))
    written, of_peers = answers.load()
    known = outcomes(of_peers[peer])
    if versions() == written:
        assert told == known, AGAIN
    elif told != known:
        better, worse = ", ".join(sorted(known - told)), ", ".join(sorted(told - known))
        pytest.xfail(f"{peer} of {versions()}: no more: {better or 'none'}; new: {worse or 'none'}")


def outcomes(told: answers.Answers) -> set[str]:
    return {
        f"{case} {kind} {outcome}"
        for case, of_case in told.items()
        for kind, (outcome, _) in of_case.items()
    }


def test_the_answers_are_of_what_is_locked() -> None:
    locked = (ROOT / "requirements/dev.txt").read_text()
    for package, version in answers.load()[0].items():
        assert f"\n{package}=={version} " in locked, AGAIN


def test_the_page_tells_what_they_answered() -> None:
    assert PAGE.read_text() == page(*answers.load()), AGAIN


def test_what_is_said_more_is_about_what_fails() -> None:
    of_peers = answers.load()[1]
    assert of_peers.keys() == WHY.keys()
    for peer, notes in WHY.items():
        assert notes.keys() <= of_peers[peer].keys()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onrecord.testing.langgraph_store", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_prints_a_table_and_leaves_with_1() -> None:
    done = run("langgraph.store.memory:InMemoryStore", "--cases", "created_at", "--only", "sync")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "Times",
        "  created_at_stays  FAILED",
        "    `created_at` stays when an item is put again.",
        "    sync: it moves with every put",
        "",
        "0 passed, 1 failed, 0 not offered, 0 not seen",
    ]


def test_the_command_leaves_with_0_where_all_is_passed() -> None:
    done = run("tests.right_store:RightStore", "--cases", "batch")
    assert (done.returncode, done.stderr) == (0, "")
    assert "8 passed, 0 failed" in done.stdout


@pytest.mark.parametrize(
    ("named", "said"),
    [("tests.right_store", "names no factory"), ("tests.right_store:Nobody", "has no Nobody")],
)
def test_the_command_says_what_is_no_factory(named: str, said: str) -> None:
    done = run(named)
    assert done.returncode == 1
    assert said in done.stderr


def test_cases_that_are_known_to_fail() -> None:
    class Known(BaseStoreContract):
        fails: ClassVar = {"created_at_stays": "it is known"}

    (case,) = (case for case in CASES if case.name == "created_at_stays")
    with pytest.raises(pytest.xfail.Exception, match="it is known"):
        Known().test_store(InMemoryStore(), case, "sync")
    with pytest.raises(AssertionError, match="passes now"):
        Known().test_store(RightStore(), case, "sync")
    with pytest.raises(AssertionError, match="moves with every put"):
        BaseStoreContract().test_store(InMemoryStore(), case, "sync")
    with pytest.raises(ValueError, match="names no case: nonsense"):
        type("Mistaken", (BaseStoreContract,), {"fails": {"nonsense": ""}})


def test_who_needs_an_event_loop_is_told_so() -> None:
    class Opened:
        async def __aenter__(self) -> RightStore:
            return RightStore()

        async def __aexit__(self, *_: object) -> None:
            pass

    (case,) = (case for case in CASES if case.name == "put_replaces")
    both: Callable[[], object] = Opened
    sync, on_loop = report(both, cases=[case])  # type: ignore[arg-type]
    assert sync.outcome == "failed"
    assert "async kind only" in sync.reason
    assert on_loop.outcome == "passed"
    assert "sync: TypeError: This store" in table([sync, on_loop])


def test_the_rest_of_the_core_loads_no_langgraph() -> None:
    program = "import sys, onrecord.testing; print('langgraph' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
