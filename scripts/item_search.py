"""Measures what a search of items costs: it looks at all of a namespace.

python -m scripts.item_search
"""

from __future__ import annotations

import resource
import tempfile
import time
from random import Random
from statistics import median
from zlib import crc32

from onrecord import Store

_WORDS = [f"word{n}" for n in range(3_000)]
_OFTEN = 5


class _Signs:
    """An embedder that costs next to nothing: what is measured is the search."""

    name, dimensions = "signs", 384

    def __init__(self) -> None:
        self._vectors = [[Random(f"{n} {m}").gauss(0, 1) for m in range(384)] for n in range(61)]

    def embed(self, texts: list[str]) -> list[list[float]]:
        return [self._vectors[crc32(text.encode()) % 61] for text in texts]


def main() -> None:
    """Print a line for each size: medians of the processor's time, and the most memory it took."""
    random = Random(1)
    print("items   words, ms   words and meaning, ms   process, MB")
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/items.db"
        with Store(url) as words, Store(url, embedder=_Signs()) as both:
            for size in (100, 1_000, 10_000):
                name = f"of {size}"
                words.items(name).put_many(
                    {f"{n}": {"text": " ".join(random.choices(_WORDS, k=25))} for n in range(size)}
                )
                both.embed()
                took = [_measured(store, name) for store in (words, both)]
                most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
                print(f"{size:>6,}{took[0]:>12.1f}{took[1]:>24.1f}{most:>14}")


def _measured(store: Store, name: str) -> float:
    items, took = store.items(name), []
    for n in range(_OFTEN):
        began = time.process_time()
        items.search(f"word{n} word17 word2999")
        took.append(1_000 * (time.process_time() - began))
    return median(took)


if __name__ == "__main__":
    main()
