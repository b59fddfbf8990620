"""The cases as a class of pytest's. Needs pytest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pytest

from onrecord.testing.langgraph_store import CASES, KINDS, Case, Kind, Opener, asked


class BaseStoreContract:
    """Subclass this and give it a fixture ``store``.

    The fixture gives a ``BaseStore``, or a context manager that opens one. What has to be opened on
    the event loop that uses it is given as an async context manager, with ``kinds = ("async",)``.
    """

    kinds: ClassVar[Sequence[Kind]] = KINDS
    fails: ClassVar[Mapping[str, str]] = {}
    """Cases by name that are known to fail, and why; one that passes all the same is an error."""

    def __init_subclass__(cls) -> None:
        unknown = sorted(cls.fails.keys() - {case.name for case in CASES})
        if unknown:
            raise ValueError(f"{cls.__name__}.fails names no case: {', '.join(unknown)}")

    @pytest.fixture
    def store(self) -> Opener:
        """A store, or what opens one; a subclass says which."""
        pytest.fail("a contract needs a fixture named store")

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_store(self, store: Opener, case: Case, kind: Kind) -> None:
        if kind not in self.kinds or kind not in case.kinds:
            # A store with one face, or a case that is about the other one.
            pytest.skip(f"is not asked in the {kind} kind")
        result = asked(store, case, kind)
        if result.outcome in ("not offered", "not seen"):
            # What a store does not claim to have it is not held to; the reason says what.
            pytest.skip(result.reason)
        why = f"{case.sentence} {result.reason}"
        if case.name in self.fails:
            assert result.outcome == "failed", f"{case.name} passes now: take it out of `fails`"
            # Known, named by its subclass, and noticed above as soon as it passes.
            pytest.xfail(self.fails[case.name])
        assert result.outcome == "passed", why
