"""What a store shows to OpenTelemetry: a span for each operation, and metrics.

Nothing here imports ``opentelemetry``: who has set it up in this process has imported it, and who
has not is shown nothing. So a store costs the same without it, with its API alone, and with it
switched off; and who sets it up later is seen by the next operation.

Of contents nothing leaves: attributes are names, kinds, counts and sizes, and of an error its class
alone, since what it says may quote what was stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from onrecord.telemetry.providers import is_on
from onrecord.telemetry.sources import Source, enter
from onrecord.telemetry.spans import Telemetry

if TYPE_CHECKING:
    from onrecord.cache.cache import Cache
    from onrecord.ledger.ledger import Ledger

__all__ = ["Telemetry", "is_on", "telemetry_of"]


def telemetry_of(
    wanted: bool | Literal["nameless"], ledger: Ledger, cache: Cache
) -> Telemetry | None:
    """What a store is watched by from outside; None where that is switched off."""
    if wanted is False:
        return None
    source = Source(ledger, cache)
    enter(source, ledger)
    return Telemetry(source, names=wanted is True)
