"""How an append, a read and a rewrite travel. All ordering rules live here and only here.

Each public method is a flow (``flow.py``): a generator of whole steps that knows nothing of
threads, loops or drivers. What has to hold is I1-I12 of the design; the comments say which.
"""

from onrecord.protocol.base import UNSET
from onrecord.protocol.belief import Belief
from onrecord.protocol.check import Checking
from onrecord.protocol.erase import Erasing
from onrecord.protocol.fork import Forking
from onrecord.protocol.read import Reading
from onrecord.protocol.replace import Replacing


class Protocol(Replacing, Reading, Erasing, Forking, Checking):
    """The flows of one store."""


__all__ = ["UNSET", "Belief", "Protocol"]
