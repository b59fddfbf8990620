"""From which score on something is relevant, where nobody says otherwise."""

from onrecord.ranking import RELEVANT

__all__ = ["RELEVANT"]
