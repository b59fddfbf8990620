"""What an adapter remembers in the process: bounded, for any thread, empty in a forked child."""

from onrecord.cache.bounded import Bounded

__all__ = ["Bounded"]
