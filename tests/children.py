"""Forked children of a test."""

import os
import pickle
import select
import signal
import traceback
import warnings
from collections.abc import Callable
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
            except BaseException:
                os.write(answer, pickle.dumps((False, traceback.format_exc())))
            finally:
                os._exit(0)
        os.close(answer)

    def result(self) -> Any:
        try:
            if not select.select([self._answer], [], [], PATIENCE)[0]:
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
