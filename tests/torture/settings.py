"""What all of a run share."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from onrecord.flows.belief import Patience

Consistency = Literal["cached", "strict"]
Plant = Literal["mute", "further"]
"""A bug to be found: writers that tell Redis nothing and believe they did; or that find their
work done where the cache is further than they are, whatever it has."""

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 60.0
"""How many seconds those who run it wait for anything."""

IMPATIENT: Final = Patience(believed_for=0.4, marking=0.2, resume_after=1.0)
"""Of every process of a run, so that an outage is survived within it. A writer without a mark
waits for 1.25 times as long as is believed, and half a second, as ever."""
REVALIDATE: Final = 2.0
MARGIN: Final = 0.1
"""What the rates of two clocks may add to REVALIDATE."""
TIMEOUT: Final = 1.0

SHARED: Final = ("a", "b", "c: % 'ö'")
"""Sessions that every writer appends to. One writer has a session of its own as well, which it
also clears and rewinds."""
TURNED: Final = "in turns"
"""A session that writers append to only while they hold a turn of it."""
LEASE: Final = 0.3
"""Of such a turn, in seconds: who is stopped is overtaken."""
CLOCK: Final = "torture:clock"
"""A key of Redis: how many seconds our scripts take its clock to be ahead."""
