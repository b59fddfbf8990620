"""How a session is made before anybody says a word in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onrecord import codec
from onrecord.errors import Conflict
from onrecord.flow import Cold, Flow, do
from onrecord.flows.about import changes_of
from onrecord.flows.mark import Done
from onrecord.flows.shared import Desk
from onrecord.ledger.sessions import description, sessions
from onrecord.scope import SessionName
from onrecord.stored.changes import Change
from onrecord.stored.clock import now
from onrecord.version import SessionInfo

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction


def create(
    desk: Desk, name: SessionName, title: object, metadata: object, expires_in: object
) -> Flow[SessionInfo]:
    """Make a session that is not there, with title and metadata; refuse one that is."""
    about = changes_of(title, metadata)
    # Packed even where there is nothing in it: by that a session that was created is told from
    # one that an append has made and does not need.
    packed = codec.pack_value(about, "metadata")
    columns = {"expires_in": description.SETTABLE["expires_in"](expires_in)}
    at = now()

    def work(txn: Transaction) -> Done[tuple[description.Described, int]]:
        found = sessions.lock(txn, name)
        if found is not None or not sessions.create(txn, name, at):
            version = (found or sessions.lock(txn, name) or sessions.absent(txn, name)).version
            raise Conflict(
                f"There is a session {name} already, at {tuple(version)}. Nothing was written. "
                f"Append to it, or create one with another key.",
                version,
            )
        session = sessions.lock(txn, name)
        assert session is not None, "it was made by this very transaction"
        description.set_about(txn, session, packed, first=True)
        description.set_columns(txn, session, columns)
        described = description.describe(txn, name)
        assert described is not None, "it is locked by this very transaction"
        change = Change("create", name, session.version, session.version)
        return Done((described, session.fence), change)

    began = desk.known.begin()
    done = yield from do(Cold(work, writes=True, change_of=Done.change_of))
    described, fence = done.answer
    if desk.marks:  # the first append then comes under the right fence at once
        desk.known.read(name.identity, described.version, fence, began)
    return description.info_of(described)
