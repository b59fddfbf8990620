"""Name a store where it cannot be held: in a dump, a pickle, another process.

A reference is the store's address without its password. It finds the very store again where
that is alive, one of the same address otherwise, then the one that the environment names; a
SQLite file is simply opened.
"""

from __future__ import annotations

import os
import re
import threading
import weakref
from typing import Any, Final

from onrecord.errors import Misconfigured
from onrecord.store import Store

_PASSWORD: Final = re.compile(r"://[^/:@]*:(?!\*{3}@)[^@]*@|(^|[?&\s])password=")
_NAME: Final = re.compile(r"#[0-9a-f]+\Z")
_lock = threading.Lock()
_alive: weakref.WeakValueDictionary[str, Store] = weakref.WeakValueDictionary()
_opened: dict[str, Store] = {}


def check_store(given: object) -> None:
    """Refuse at once what is no store. It is not shown: an address may hold a password."""
    if not isinstance(given, Store):
        raise Misconfigured(
            f"store= has to be an onrecord.Store, not a {type(given).__name__}. Make one for the "
            f"process, Store(url), and pass that; a session has it as session.store."
        )


class StoreReference:
    """Holds a store, or finds it when it is first needed. Copied and pickled by its name."""

    def __init__(self, given: Store | str) -> None:
        self._store = given if isinstance(given, Store) else None
        if isinstance(given, Store):
            self.name = f"{given.address}#{id(given):x}"
            with _lock:
                _alive[self.name] = given
        elif isinstance(given, str) and _NAME.search(given) and not _PASSWORD.search(given):
            self.name = given
        else:
            # Also an address with a password: what is held here stands in every dump.
            check_store(given)

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
        # A store that was closed may be there still: nobody has collected it.
        if (store := _alive.get(name)) is not None and not store.closed:
            return store
        for store in list(_alive.values()):
            if store.address == address and not store.closed:
                return store
        if address in _opened and not _opened[address].closed:
            return _opened[address]
    store = _made(address)
    with _lock:
        # Nobody else holds it: for good. Of two that were made at once one is never used.
        there = _opened.get(address)
        if there is None or there.closed:
            there = _opened[address] = store
        return there


def _made(address: str) -> Store:
    """Not under the lock: the first store of a kind loads its driver."""
    is_file = address.startswith("sqlite:///")
    # Without a URL there the environment's settings are for the file that is asked for.
    settings: dict[str, Any] = {}
    if is_file and not os.environ.get("ONRECORD_URL"):
        settings["url"] = address
    store = Store.from_env(**settings)
    if store.address == address:
        return store
    if not is_file:
        raise Misconfigured(
            f"The store {address} is not open in this process. Open it before you restore "
            f"what refers to it, or name it in ONRECORD_URL."
        )
    return Store(address)
