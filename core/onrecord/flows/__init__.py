"""How an append, a read and a rewrite travel. All ordering rules live here and only here.

Each public method is a flow (``flow.py``): a generator of whole steps that knows nothing of
threads, loops or drivers. What has to hold is I1-I12 of the design; the comments say which.
"""

from onrecord.flows.belief import Belief
from onrecord.flows.maintenance.erase import Erasing
from onrecord.flows.maintenance.health import Checking
from onrecord.flows.sessions.fork import Forking
from onrecord.flows.sessions.read import Reading
from onrecord.flows.sessions.replace import Replacing
from onrecord.flows.shared import UNSET


class Protocol(Replacing, Reading, Erasing, Forking, Checking):
    """The flows of one store."""


__all__ = ["UNSET", "Belief", "Protocol"]
