"""What every LangGraph ``BaseStore`` has to do, as cases anybody can run over a store of theirs.

    python -m onrecord.testing.langgraph_store mypackage.stores:factory

prints which cases it passes and why it fails others. ``factory`` gives a store, or a context
manager (async too) that opens one; it is called for each case. What a case writes is below a root
label of its own, so that the store need not be empty. As tests of pytest:

    from onrecord.testing.langgraph_store import BaseStoreContract

    class TestMyStore(BaseStoreContract):
        @pytest.fixture
        def store(self):
            with MyStore("...") as store:
                yield store
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onrecord.testing.langgraph_store.asking import Factory, Result, asked, report, table
from onrecord.testing.langgraph_store.case import Case, Group
from onrecord.testing.langgraph_store.cases import CASES, GROUPS
from onrecord.testing.langgraph_store.subject import KINDS, Kind, Opener

if TYPE_CHECKING:
    from onrecord.testing.langgraph_store.contract import BaseStoreContract

__all__ = [
    "CASES",
    "GROUPS",
    "KINDS",
    "BaseStoreContract",
    "Case",
    "Factory",
    "Group",
    "Kind",
    "Opener",
    "Result",
    "asked",
    "report",
    "table",
]


def __getattr__(name: str) -> Any:
    if name == "BaseStoreContract":  # needs pytest, which the runner does not
        from onrecord.testing.langgraph_store.contract import BaseStoreContract

        return BaseStoreContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
