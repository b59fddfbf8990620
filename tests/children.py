"""Forked children of a test."""

import os
import pickle
import select
import signal
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pwd import struct_passwd
from typing import Any

import pytest

PATIENCE = 60.0


class Child:
    """A forked child that does something and sends back what came of it."""

    def __init__(self, work: Callable[[], Any], user: struct_passwd | None = None) -> None:
        self._answer, answer = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 and later warn that a fork beside threads may deadlock. That it does
            # not is what is tested here.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            try:
                if user is not None:
                    os.setgroups([])
                    os.setgid(user.pw_gid)
                    os.setuid(user.pw_uid)
                os.write(answer, pickle.dumps((True, work())))
            except BaseException:  # whatever it was, the parent has to hear of it
                os.write(answer, pickle.dumps((False, traceback.format_exc())))
            finally:
                os._exit(0)
        os.close(answer)

    def result(self, patience: float = PATIENCE) -> Any:
        try:
            if not select.select([self._answer], [], [], patience)[0]:
                os.kill(self.pid, signal.SIGKILL)
                pytest.fail("the child hung")
            with os.fdopen(self._answer, "rb") as answer:
                found = answer.read()
        finally:
            _, status = os.waitpid(self.pid, 0)
        if not found:
            pytest.fail(f"the child died: {os.waitstatus_to_exitcode(status)}")
        worked, result = pickle.loads(found)
        if not worked:
            pytest.fail(f"in the child:\n{result}")
        return result


def together(
    work: Callable[[int, Callable[[], object]], Any], count: int = 2, patience: float = PATIENCE
) -> list[Any]:
    """The same work in several children at once: each has a number, and can wait for the others."""
    meeting = get_context("fork").Barrier(count, timeout=PATIENCE)
    children = [Child(partial(work, n, meeting.wait)) for n in range(count)]
    results: list[Any] = []
    try:
        for child in children:
            results.append(child.result(patience))
    finally:
        for child in children[len(results) + 1 :]:  # one has failed: nobody asks the rest
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
    return results
