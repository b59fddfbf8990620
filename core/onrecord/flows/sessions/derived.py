"""What was made from a session's messages goes with them, in the same transaction (I7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from onrecord.flow import Flow
from onrecord.flows.mark import Wrote, commit
from onrecord.flows.shared import Desk
from onrecord.ledger.items import state
from onrecord.scope import ItemName, SessionName
from onrecord.stored.changes import Change

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction, Work

T = TypeVar("T")


def commit_rewrite(
    desk: Desk,
    name: SessionName,
    work: Work[T],
    change_of: Callable[[T], Change | None],
    *,
    items: Iterable[ItemName] = (),
    wrote: Callable[[T], Wrote] | None = None,
) -> Flow[T]:
    """Commit what takes messages away, and with them what was made from them; ``items`` and
    ``wrote`` as of ``commit``."""

    def both(txn: Transaction) -> tuple[T, Wrote]:
        answer = work(txn)
        change = change_of(answer)
        gone = () if change is None else change.removed
        return answer, state.remove_derived(txn, name, gone)

    def written(answer: tuple[T, Wrote]) -> Wrote:
        by_work = {} if wrote is None else wrote(answer[0])
        return {**by_work, **answer[1]}

    answer: tuple[T, Wrote] = yield from commit(
        desk, name, both, lambda answer: change_of(answer[0]), items=items, wrote=written
    )
    return answer[0]
