"""What happens in a store, as tests of turns hear of it."""

from __future__ import annotations

import threading
from collections import Counter

from onrecord import Store
from onrecord.watching import Observer, OperationDone


class Heard(Observer):
    """Notes which operations a store has done, with their steps in SQL."""

    def __init__(self, store: Store) -> None:
        self.operations: Counter[str] = Counter()
        self.steps: Counter[str] = Counter()
        self.asked_to_hold = threading.Event()
        store._observers = (self,)

    def done(self, done: OperationDone) -> None:
        self.operations[done.name] += 1
        self.steps.update(step.kind for step in done.steps)
        if done.name == "hold":
            self.asked_to_hold.set()
