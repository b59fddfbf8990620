"""Import conversations from elsewhere; an import can be repeated, and goes on where it was.

A source hands out its conversations, and each of these its rows, oldest first. What is there
already is known by two things:

- A mark in the session's metadata says how far the source was read. It is set before the first
  batch and after each one. While it is open, what follows it may have been brought as well.
- Every message has an id: the one it had, or one made of its row. So whatever the mark leaves
  open, after a crash or because somebody overwrote it, is settled by the ids in the session.

A batch is appended only if nobody has spoken since the ids were looked at. So it matters neither
who else writes to the session, another import among them, nor how many messages ago that was.
"""

from __future__ import annotations

import asyncio

from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.adapters.importing.conversation import BATCH, KEY, ConversationImport
from onrecord.adapters.importing.options import (
    ImportOptions,
    ImportPlan,
    OnProgress,
    Scope,
    SessionOf,
    plan_of,
)
from onrecord.adapters.importing.report import Imported, ImportProgress, Tally, Unread, printable
from onrecord.adapters.importing.source import (
    Bookmark,
    Conversation,
    Page,
    RowOf,
    Source,
    SourceRow,
    digest,
)
from onrecord.errors import InvalidName

__all__ = [
    "BATCH",
    "KEY",
    "Bookmark",
    "Conversation",
    "ImportOptions",
    "ImportPlan",
    "ImportProgress",
    "Imported",
    "OnProgress",
    "Page",
    "RowOf",
    "Scope",
    "SessionOf",
    "Source",
    "SourceRow",
    "Unread",
    "aimport_source",
    "digest",
    "import_source",
    "plan_of",
    "printable",
]


def import_source(source: Source, plan_of: ImportPlan) -> Imported:
    """Bring what a source holds and the store does not, and close the source."""
    try:
        return talk(_brought(source, plan_of))
    finally:
        source.close()


async def aimport_source(source: Source, plan_of: ImportPlan) -> Imported:
    """Like ``import_source``; the source is read in a thread."""
    try:
        return await atalk(_brought(source, plan_of))
    finally:
        await asyncio.to_thread(source.close)  # a read that a cancellation left alone ends first


def _brought(source: Source, plan_of: ImportPlan) -> Talk[Imported]:
    tally = Tally()
    while some := (yield from call(source.conversations)):
        for one in some:
            if isinstance(one, Unread):
                tally.unread.append(one)
                continue
            try:
                session = plan_of.into(one.id)
            except InvalidName as fault:
                tally.unread.append(Unread(printable(one.id), None, str(fault)))
                continue
            tally.sessions += 1
            yield from ConversationImport(source, one, session, tally, plan_of.progress).all()
    return tally.brought()
