"""Stores that memories open by a URL: one of each for all memories of the process.

A store on a SQLite file holds nine file descriptors, and a process often has 1,024: a memory for
each of a thousand agents could not have a store of its own.
"""

from __future__ import annotations

import threading
import weakref
from os import PathLike
from typing import Any, Final

from onrecord.errors import Misconfigured
from onrecord.store import Store


class OwnStore:
    """A memory's hold on a store that it opened. The last one that lets go closes it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def let_go(self) -> bool:
        """Whether nobody else holds the store: it is to be closed now. True again afterwards."""
        with _lock:
            holders = _holders.get(self.store)
            if holders is None:
                return True
            holders.discard(self)
            if len(holders):
                return False
            del _holders[self.store]
        return True


_lock: Final = threading.Lock()
_holders: Final[weakref.WeakKeyDictionary[Store, weakref.WeakSet[OwnStore]]] = (
    weakref.WeakKeyDictionary()
)
_by_url: Final[weakref.WeakValueDictionary[tuple[str, str, bool], Store]] = (
    weakref.WeakValueDictionary()
)


def opened(url: str | PathLike[str] | None, compress: bool) -> OwnStore:
    """Hold the store of a URL, a new one where nobody holds one. Does no I/O."""
    given: Any = url
    if given is not None and not isinstance(given, str | PathLike):
        raise Misconfigured(
            f"A memory takes an onrecord.Store or the URL of one, not a {type(given).__name__}."
        )
    made = Store(url, compression="zstd" if compress else "none")
    key = (str(url), made.address, compress)
    with _lock:
        store = _by_url.get(key)
        if store is None or store.closed or store not in _holders:
            store = made
            _holders[store] = weakref.WeakSet()
            if made.address != "sqlite://":  # each of these is a database of its own
                _by_url[key] = store
        own = OwnStore(store)
        _holders[store].add(own)
    return own


def close_all() -> None:
    """Close all stores that were opened here: the process ends."""
    with _lock:
        stores = list(_holders)
        _holders.clear()
    for store in stores:
        store.close()
