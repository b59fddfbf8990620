"""The ranking of what was said: pure functions of messages and a query, the same everywhere.

A run of 16 messages has a *signature*, which is all that an index keeps of it. A search *chooses*
runs by their signatures, reads their messages, and *scores* them. The answer is defined by the
messages and this room alone; who has no index makes the signatures on the way.
"""

from __future__ import annotations

from onrecord.ranking.choosing import Chosen, choose
from onrecord.ranking.meanings import Meanings
from onrecord.ranking.query import Query, as_said
from onrecord.ranking.scoring import RELEVANT, score
from onrecord.ranking.sifting import Sieve
from onrecord.ranking.signature import signature
from onrecord.ranking.spoken import Spoken
from onrecord.ranking.values import NEIGHBOURS, RUN, Run, Said, Scored
from onrecord.ranking.words import ANALYSER

__all__ = [
    "ANALYSER",
    "NEIGHBOURS",
    "RELEVANT",
    "RUN",
    "Chosen",
    "Meanings",
    "Query",
    "Run",
    "Said",
    "Scored",
    "Sieve",
    "Spoken",
    "as_said",
    "choose",
    "score",
    "signature",
]
