"""What is kept close at hand. It makes reads quick; the ledger is what is true."""

from onrecord.cache.cache import Cache, CacheUnavailable, Glance
from onrecord.cache.local import LocalCache

__all__ = ["Cache", "CacheUnavailable", "Glance", "LocalCache"]
