"""All cases, in the order in which they are told."""

from __future__ import annotations

from typing import Final

from onrecord.testing.langgraph_store.basics import BASICS
from onrecord.testing.langgraph_store.case import Case
from onrecord.testing.langgraph_store.company import COMPANY
from onrecord.testing.langgraph_store.filters import FILTERS
from onrecord.testing.langgraph_store.namespaces import NAMESPACES
from onrecord.testing.langgraph_store.order import ORDER
from onrecord.testing.langgraph_store.times import TIMES
from onrecord.testing.langgraph_store.ttl import TTL
from onrecord.testing.langgraph_store.values import VALUES

GROUPS: Final = (BASICS, VALUES, TIMES, ORDER, FILTERS, NAMESPACES, TTL, COMPANY)
"""The cases by what they are about, in the order of a report."""
CASES: Final[tuple[Case, ...]] = tuple(case for group in GROUPS for case in group.cases)
"""All cases."""
