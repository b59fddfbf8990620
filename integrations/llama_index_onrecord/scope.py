"""The base of the stores for LlamaIndex: which store, and whose conversations."""

from __future__ import annotations

from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Final

from pydantic import BaseModel, Field, PrivateAttr

from onrecord import Session, Store
from onrecord.adapters.calls import Talk, call
from onrecord.adapters.reference import StoreReference
from onrecord.arguments import check_settings

_PAGE = 500
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
"""Where a session stands in a list whose time is damaged."""


class InScope(BaseModel):
    """Names sessions of a store by keys; held in dumps by the store's address."""

    store: str = Field(description="Which store: its address, without a password.")
    tenant: str = Field(default="", description="Whose conversations these are.")
    user: str = Field(default="", description="Whose conversations these are.")
    agent: str = Field(default="", description="Whose conversations these are.")
    _reference: StoreReference = PrivateAttr()

    def __init__(
        self, store: Store | str, tenant: str = "", user: str = "", agent: str = "", **data: Any
    ) -> None:
        """
        store          an onrecord.Store, made once for the process; or, in what was dumped, its
                       name: the store is found by it when it is first needed
        tenant, user, agent    the scope of the sessions that keys name
        """
        # A scope that is misspelt would be no wall.
        check_settings(type(self).__name__, data.keys() - {"class_name"}, type(self).model_fields)
        reference = StoreReference(store)
        data.update(store=reference.name, tenant=tenant, user=user, agent=agent)
        super().__init__(**data)
        self._reference = reference

    def session(self, key: str) -> Session:
        """Give the session that a key names."""
        return self._reference.store.session(key, **self._scope())

    def _scope(self) -> dict[str, str]:
        return {"tenant": self.tenant, "user": self.user, "agent": self.agent}

    def _keys(self) -> Talk[list[str]]:
        """List the keys of all sessions in scope that hold messages, in the order of their
        beginning: so LlamaIndex's own store has them."""
        keys: list[tuple[datetime, str]] = []
        last = None
        while True:
            page = yield from call(
                self._reference.store.sessions,
                tenant=self.tenant,
                user=self.user,
                agent=self.agent,
                limit=_PAGE,
                after=last,
            )
            keys += [(info.created_at or _LONG_AGO, info.key) for info in page if info.messages]
            if len(page) < _PAGE:
                return [key for _, key in sorted(reversed(keys), key=itemgetter(0))]
            last = page[-1]
