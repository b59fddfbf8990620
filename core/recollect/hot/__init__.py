"""What is kept close at hand. It makes reads quick; the ledger is what is true."""

from recollect.hot.local import Glance, LocalCache

__all__ = ["Glance", "LocalCache"]
