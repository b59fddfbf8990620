"""The threads that event loops hand their calls to: as few as will do, and none is lost."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from queue import SimpleQueue

import pytest

from onrecord.ledger.hop import Threads
from tests.children import PATIENCE

AT_EXIT = """
import threading
from onrecord.ledger.hop import Threads

def after_the_main_thread():
    began.set()
    threading.main_thread().join()
    print("done", flush=True)

began, threads = threading.Event(), Threads(1, "x")
threads.submit(after_the_main_thread)
began.wait()
"""


def ask(threads: Threads) -> threading.Thread:
    """Which thread answers a call, once it is idle again."""
    answers: SimpleQueue[threading.Thread] = SimpleQueue()
    threads.submit(lambda: answers.put(threading.current_thread()))
    answered_by = answers.get(timeout=PATIENCE)
    threads._idle.get(timeout=PATIENCE)
    threads._idle.put(None)
    return answered_by


def test_one_thread_is_enough_for_calls_one_after_another() -> None:
    threads = Threads(4, "x")
    assert {ask(threads).name for _ in range(20)} == {"x_0"}
    threads.shut()


def test_no_more_threads_than_so_many() -> None:
    threads, go, done = Threads(3, "x"), threading.Event(), SimpleQueue[str]()

    def wait() -> None:
        assert go.wait(PATIENCE)
        done.put(threading.current_thread().name)

    for _ in range(10):
        threads.submit(wait)
    go.set()
    assert {done.get(timeout=PATIENCE) for _ in range(10)} <= {"x_0", "x_1", "x_2"}
    assert len(threads._made) == 3
    threads.shut()


def test_who_shuts_them_waits_for_what_was_taken() -> None:
    threads, go, done = Threads(1, "x"), threading.Event(), list[int]()
    threads.submit(lambda: go.wait(PATIENCE))
    for n in range(5):
        threads.submit(lambda n=n: done.append(n))  # type: ignore[misc]
    shutting = threading.Thread(target=threads.shut)
    shutting.start()
    go.set()
    shutting.join(PATIENCE)
    assert done == [0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="no more calls"):
        threads.submit(print)


def test_they_end_where_nobody_knows_of_them_any_more() -> None:
    threads = Threads(2, "x")
    thread = ask(threads)
    del threads
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_call_that_fails_costs_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    threads = Threads(1, "x")
    threads.submit(lambda: 1 // 0)
    assert ask(threads).name == "x_0"
    threads.shut()
    assert "ZeroDivisionError" in caplog.text


def test_what_was_begun_is_done_before_python_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout == "done\n"
    assert done.stderr == ""
