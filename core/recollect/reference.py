"""How a store is named where it cannot be held: in a dump, a pickle, another process.

A reference is the store's address without its password. It finds the very store again where
that is alive, one of the same address otherwise, then the one that the environment names; a
SQLite file is simply opened.
"""

from __future__ import annotations

import re
import threading
import weakref
from typing import Any, Final

from recollect.errors import Misconfigured
from recollect.store import Store

_PASSWORD: Final = re.compile(r"://[^/:@]*:(?!\*{3}@)[^@]*@|(^|[?&\s])password=")
_lock = threading.Lock()
_alive: weakref.WeakValueDictionary[str, Store] = weakref.WeakValueDictionary()
_opened: dict[str, Store] = {}


class StoreReference:
    """Holds a store, or finds it when it is first needed. Copied and pickled by its name."""

    def __init__(self, given: Store | str) -> None:
        self._store = given if isinstance(given, Store) else None
        if isinstance(given, Store):
            self.name = f"{given.address}#{id(given):x}"
            with _lock:
                _alive[self.name] = given
        elif isinstance(given, str) and given:
            if _PASSWORD.search(given):
                # Not shown, and not kept: what is held here stands in every dump.
                raise Misconfigured(
                    "store= is an address with a password in it. Pass a recollect.Store made of it."
                )
            self.name = given
        else:
            raise Misconfigured(f"store= has to be a recollect.Store, not {given!r:.50}.")

    @property
    def store(self) -> Store:
        """The store, found again where it is not held."""
        if self._store is None:
            self._store = _found(self.name)
        return self._store

    def __copy__(self) -> StoreReference:
        return self

    def __deepcopy__(self, memo: Any) -> StoreReference:
        return self

    def __reduce__(self) -> tuple[type[StoreReference], tuple[str]]:
        return StoreReference, (self.name,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoreReference) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"StoreReference({self.name!r})"


def _found(name: str) -> Store:
    address = name.partition("#")[0]
    with _lock:
        if (store := _alive.get(name)) is not None:
            return store
        for store in list(_alive.values()):
            if store.address == address:
                return store
        if address in _opened:
            return _opened[address]
        store = Store.from_env()
        if store.address != address:
            if not address.startswith("sqlite:///"):
                raise Misconfigured(
                    f"The store {address} is not open in this process. Open it before you restore "
                    f"what refers to it, or name it in RECOLLECT_URL."
                )
            store = Store(address)
        # Nobody else holds it: for good.
        return _opened.setdefault(address, store)
