"""What one commit did to one session: a value for whoever has to follow, a cache as an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from onrecord.stored.messages import MessageRow, Publication
from onrecord.stored.ranges import Ranges

if TYPE_CHECKING:
    from onrecord.scope import SessionName
    from onrecord.version import Version

Kind: TypeAlias = Literal[
    "append",
    "archive",
    "create",
    "edit",
    "delete",
    "erase",
    "fork",
    "import",
    "replace",
    "rewind",
    "unarchive",
    "update",
]
"""What was done. To clear is to rewind to the beginning, and to pop is to
rewind to before what was popped; what is pruned is erased. An append makes
its session without a word of it, and so does the first write of its state: only who calls create()
creates one."""


class Change(NamedTuple):
    """What one commit did to one session.

    Commits of one session are ordered by their versions; those that leave the version as it was
    (archive, unarchive, create, update) take away nothing and add nothing, and may be told twice. A
    commit whose answer was lost is told when it was looked up, and not at all where that failed
    too.
    """

    kind: Kind
    name: SessionName
    before: Version
    """Where the session stood; of one that was never written to, where its next message begins."""
    after: Version
    added: Ranges = ()
    """Places in which a message stands that was not there before; of a fork, empty ones too."""
    removed: Ranges = ()
    """Places whose message, where there was one, is not there any more. One that was edited is
    removed and added, and archived as it was."""
    archived: Ranges = ()
    """Of the places that hold a message now, those that are archived and were not before."""
    unarchived: Ranges = ()
    """Places that are not archived any more; one whose message was deleted may be among them."""
    rows: Sequence[MessageRow] = ()
    """What an append has written, where nothing else can have come in between."""
    lineage: int = 0
    """What it left in the session; 0 where that is not known."""
    number: int | None = None
    """The session's number, where it is known."""

    @property
    def publication(self) -> Publication:
        """What a cache is told of it."""
        return Publication(self.after, self.lineage, self.rows, self.number)


Changed: TypeAlias = "Change | list[Change] | None"
"""What one commit did: to one session, to several, or nothing."""


def each_of(changed: Changed) -> list[Change]:
    """The changes, one after the other."""
    if changed is None:
        return []
    return changed if isinstance(changed, list) else [changed]
