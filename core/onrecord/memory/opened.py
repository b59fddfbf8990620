"""Stores that memories open by a URL: one of each for all memories of the process.

A store on a SQLite file holds nine file descriptors, and a process often has 1,024: a memory for
each of a thousand agents could not have a store of its own.
"""

from __future__ import annotations

import threading
import weakref
from os import PathLike
from typing import Any, Final, NamedTuple

from onrecord.errors import Misconfigured
from onrecord.processes import on_fork
from onrecord.store import Store


class OwnStore:
    """A memory's hold on a store that it opened. The last one that lets go closes it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def let_go(self) -> bool:
        """Let go, and say whether nobody holds the store any more: it is to be closed now."""
        return _opened.let_go(self)


class _Key(NamedTuple):
    """Which stores are the same. What was given may have a password, which the address has not."""

    given: str
    address: str
    compress: bool


class _Opened:
    """The stores that are open, and who holds them."""

    def __init__(self) -> None:
        self._by_key: weakref.WeakValueDictionary[_Key, Store] = weakref.WeakValueDictionary()
        self._holders: weakref.WeakKeyDictionary[Store, weakref.WeakSet[OwnStore]] = (
            weakref.WeakKeyDictionary()
        )
        self._start()
        on_fork(self, in_child=_Opened._start)

    def _start(self) -> None:
        self._lock = threading.Lock()

    def hold(self, key: _Key, made: Store) -> OwnStore:
        """Hold the store of a key: the one that was made, where nobody holds one yet."""
        with self._lock:
            store = self._by_key.get(key)
            if store is None or store.closed or store not in self._holders:
                store = made
                self._holders[store] = weakref.WeakSet()
                if made.address != "sqlite://":  # each of these is a database of its own
                    self._by_key[key] = store
            own = OwnStore(store)
            self._holders[store].add(own)
        return own

    def let_go(self, own: OwnStore) -> bool:
        """See ``OwnStore``."""
        with self._lock:
            holders = self._holders.get(own.store)
            if holders is not None:
                holders.discard(own)
                if len(holders):
                    return False
                del self._holders[own.store]
        return True

    def close(self) -> None:
        """Close all of them: the process ends."""
        with self._lock:
            stores = list(self._holders)
            self._holders.clear()
        for store in stores:
            store.close()


_opened: Final = _Opened()
close_all: Final = _opened.close


def opened(url: str | PathLike[str] | None, compress: bool) -> OwnStore:
    """Hold the store of a URL, a new one where nobody holds one. Does no I/O."""
    given: Any = url
    if given is not None and not isinstance(given, str | PathLike):
        raise Misconfigured(
            f"A memory takes an onrecord.Store or the URL of one, not a {type(given).__name__}."
        )
    made = Store(url, compression="zstd" if compress else "none")
    return _opened.hold(_Key(str(url), made.address, compress), made)
