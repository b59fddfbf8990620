"""Texts that are signed for one query: who chooses runs by that chooses as by whole signatures."""

from __future__ import annotations

from random import Random

import pytest

from onrecord.ranking import Meanings, Query, Run, Said, Sieve, choose, sifting, signature

WORDS = [
    *("the", "apple", "apples", "roadtrip", "road", "trip", "Krankenversicherung", "Kranken"),
    *("Versicherung", "A-1017", "foo_bar.baz", "ada@example.org", "when", "May", "cat", "dog"),
    *("猫が好き", "고양이는", "2019", "running", "ran", "naïve", "Ada's"),
]


@pytest.mark.parametrize("key", [b"", b"secret"])
def test_it_chooses_as_whole_signatures_do(key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(3)
    texts = [" ".join(random.choices(WORDS, k=random.randint(0, 9))) for _ in range(120)]
    monkeypatch.setattr(sifting, "_MOST_SPELLINGS", 12)
    for query in [*WORDS, "", '"road trip" -cat', "when did Ada's cat run?", " ".join(WORDS)]:
        asked = Query.of(query, key)._replace(days=())
        sieve = Sieve(asked, key)
        near = Meanings({(n, 1): random.random() for n in range(0, 120, 3)}, 0.5)
        for meanings in (None, near):
            whole, sifted = (
                choose(asked, [Run(n, 0, terms) for n, terms in enumerate(signed)], meanings)
                for signed in (
                    [signature([Said(0, 1, 0, "item", "", text)], key) for text in texts],
                    [sieve.signature(text) for text in texts],
                )
            )
            assert sifted._replace(tiers=[]) == whole._replace(tiers=[])
            assert [[run[:2] for run in tier] for tier in sifted.tiers] == [
                [run[:2] for run in tier] for tier in whole.tiers
            ]
