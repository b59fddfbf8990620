"""What is kept close at hand. It makes reads quick; the ledger is what is true."""

from onrecord.hot.cache import Cache, CacheUnavailable, Glance
from onrecord.hot.local import LocalCache

__all__ = ["Cache", "CacheUnavailable", "Glance", "LocalCache"]
