"""Everything Onrecord raises on purpose: what went wrong, why, and what to do next.

    OnrecordError
    ├── InvalidMessage      a message that cannot be stored; nothing was written
    ├── InvalidValue        a value of an item that cannot be stored; nothing was written
    ├── InvalidName         a tenant, user, agent or key outside the rules; no I/O was done
    ├── Conflict            the session is not at the version the caller expected
    │   ├── Cleared         ... because it was cleared or rewound meanwhile
    │   ├── Fenced          a turn wrote that holds its session no longer; nothing was written
    │   └── TurnTaken       another turn holds the session
    ├── IdReused            a message id that the session already knows with other content
    ├── Unavailable         the database did not answer, or not in time
    ├── Damaged             stored bytes that are not what was written
    ├── EmbedderFailed      an embedder raised, or what it gave are no vectors
    ├── Misconfigured       a setting, a URL or a permission that has to change first
    │   └── SchemaTooNew    the database was migrated by a newer Onrecord
    └── StoreClosed         the store was used after close()

Each wraps what caused it (``__cause__``), and none ever holds a password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from onrecord.item import Item
    from onrecord.version import SessionInfo, Version


class OnrecordError(Exception):
    """The base of every error that Onrecord raises on purpose.

    When: never itself; each error is one of its kinds.

    What to do: catch it where a program deals with whatever can go wrong in the store. What is not
    one, such as a ``TypeError``, is a mistake in a call, or a bug of ours: please report it.
    """


class InvalidMessage(OnrecordError, ValueError):
    """A message that cannot be stored as it is. Nothing was written.

    When: ``append``, ``edit`` or ``replace`` is given a message with an unknown key, a role or a
    block that cannot be, a value that is no data, more than 64 MiB, or more than 10,000 messages
    at once. All are looked at before the first is written.

    What to do: correct what the error names by its field. Data of your own goes into ``metadata``;
    large files are better kept elsewhere, and their address here.
    """


class InvalidValue(OnrecordError, ValueError):
    """A value of an item that cannot be stored as it is. Nothing was written.

    When: an item is put whose value is no data, or takes more than 1 MiB; or something that is no
    dict is merged, or merged into.

    What to do: correct the part that the error names, or put a whole value.
    """


class InvalidName(OnrecordError, ValueError):
    """A tenant, user, agent, key or part of a namespace outside the rules. No I/O was done.

    When: a name is empty where there has to be one, longer than 512 characters, no ``str``, or has
    a NUL or half of a surrogate pair in it; or a namespace has more than 16 parts, or more than
    2,000 bytes.

    What to do: pass another name, or a hash of a long one. Nothing has to be escaped.
    """


class Conflict(OnrecordError):
    """The session, thread or item is not as the caller expected it. Nothing was written.

    ``version`` is where the session is. Of ``update``: ``info`` is what is there. Of an item:
    ``item`` is what is there, None for nothing.

    When: somebody else was quicker, and the call had ``expected=`` or ``existing=True``; something
    is made that is there already, or changed that is not there; or a run of a graph goes on from
    a checkpoint that another one has continued.

    What to do: read what is new, decide again, and write again. Where this happens often, let
    writers wait for each other with ``turn()``.
    """

    # The defaults exist for pickle, which rebuilds an exception from its message alone.
    def __init__(
        self,
        message: str,
        version: Version | None = None,
        item: Item | None = None,
        info: SessionInfo | None = None,
    ) -> None:
        super().__init__(message)
        self.version = version
        self.item = item
        self.info = info


class Cleared(Conflict):
    """The session was cleared or rewound since the caller looked. Nothing was written.

    When: an append has ``expected=`` a version, or ``Since`` one, and what it was made from was
    taken away meanwhile; or a message that was deleted is appended again with the id it had.

    What to do: begin from what is there now. To say it all the same, append it without its id.
    """


class Fenced(Conflict):
    """A turn wrote that holds its session, or its thread, no longer. Nothing was written.

    When: the turn is over, its process was stopped for longer than its lease and another took over,
    or it was begun before a fork.

    What to do: begin another turn, read what is there, and decide again. Where work takes long
    without a sign of life, give the turn a longer ``lease=``.
    """


class TurnTaken(Conflict):
    """Another turn holds the session, or the thread. Nothing was written.

    ``who`` holds it, and ``until`` when, if it does not go on.

    When: ``turn()`` has waited for as long as it was told to. A holder that has died holds no
    longer than its lease.

    What to do: try again, wait longer (``wait=``), or tell the user that an answer is on its way.
    """

    def __init__(self, message: str, who: str = "", until: datetime | None = None) -> None:
        super().__init__(message)
        self.who = who
        self.until = until


class IdReused(OnrecordError, ValueError):
    """A message id that the session already knows, with other content. Nothing was written.

    When: two different messages are appended with one id. The same message again is no error.

    What to do: give each message an id of its own. To change one that is there, use ``edit()``.
    """


class Unavailable(OnrecordError):
    """The database could not be reached, or did not answer in time.

    ``outcome_unknown`` is true when a write may or may not have been committed.

    When: the server is down or overloaded, a lock or a connection was not free within
    ``timeout=``, or the disk is full; or a server failed by itself, as its log says. A lost
    connection was tried again already.

    What to do: try again later. Where ``outcome_unknown`` is true, append the same messages with
    the same ids of your own: what is there already is not written twice. ``store.health()`` says
    who does not answer.
    """

    def __init__(self, message: str, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown


class Damaged(OnrecordError):
    """Stored bytes that are not what was written.

    When: a disk, a copy or another program has changed a file or a row. A single message that
    cannot be read raises nothing: a placeholder of role ``damaged`` stands in its place.

    What to do: stop writing, and take a copy. ``store.verify()`` names what is damaged; restore a
    backup, or ``export`` what can still be read.
    """


class EmbedderFailed(OnrecordError):
    """An embedder raised, or what it gave are no vectors.

    When: its server does not answer, its files are missing or not the ones that are trusted, or it
    gives too few vectors, or of another length than before. ``embed()`` raises it. A search does
    not: words find what they find, and ``complete`` is False.

    What to do: see to the embedder; the error's cause is what it raised. Then call ``embed()``
    again: what has a vector already is not embedded twice.
    """


class Misconfigured(OnrecordError, ValueError):
    """A setting, an argument, a URL or a permission that has to change before this can work.

    When: a store or an adapter is made with what cannot be, a driver or an extra is not installed,
    the server does not know the database or the password, a file may not be written to, or a
    thread is to be updated that has no checkpoint.

    What to do: what the error says. To try the same again will not help.
    """


class SchemaTooNew(Misconfigured):
    """The database was migrated by a newer Onrecord. Nothing was touched.

    When: an older version of the library opens it, as while a new one is being rolled out.

    What to do: upgrade ``onrecord`` here.
    """


class StoreClosed(OnrecordError):
    """The store was used after ``close()``.

    When: a program closes a store that a thread, a task or a memory still uses.

    What to do: open a new ``Store``, and close it last: a memory before its store.
    """

    def __init__(self, message: str = "This store was closed. Open a new Store.") -> None:
        super().__init__(message)


def shown(value: object, most: int = 50) -> str:
    """A value as an error may show it: its beginning, or its type where it cannot be printed."""
    try:
        return f"{value!r:.{most}}"
    except Exception:  # whatever its own code raises; what is nested too deep, or a long integer
        return f"a {type(value).__name__} that cannot be printed"
