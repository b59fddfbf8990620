"""Onrecord beside its peers, on this machine, in one run.

make bench          everything, in ten to twenty minutes; writes docs/reference/benchmarks/
make bench-quick    fewer rounds, under 2 minutes

python -m bench --only append    the rows with that in their name
"""

from __future__ import annotations

import argparse
import datetime
import gc
import sys
import time
from pathlib import Path

from msgspec.structs import replace

from bench import page, report
from bench.data import conversations
from bench.measuring import Row
from bench.place import a_place
from bench.plots import draw
from bench.rows import ROWS


def main() -> None:
    about = __doc__.partition("\n")[0]
    options = argparse.ArgumentParser(prog="python -m bench", description=about)
    options.add_argument("--quick", action="store_true", help="fewer rounds, shorter sessions")
    options.add_argument("--only", default="", help="rows with this in their name")
    options.add_argument("--into", type=Path, help="write JSON and plots into this folder")
    chosen = options.parse_args()
    started = time.perf_counter()
    origin, everything = conversations()
    data = f"{len(everything):,} conversations, {origin}"
    print(f"{report.machine()}\n{', '.join(f'{n} {v}' for n, v in report.versions().items())}")
    print(f"{data}. Each ratio is the median of those of the rounds; in brackets, what half of")
    print("the rounds lie between.\n")
    # As in a process that has imported what it needs and no more: with all the frameworks here a
    # full collection looks through 350,000 objects, and LangChain's history, which makes most
    # garbage, took 340 ms for a read of 10,000 instead of 150.
    gc.collect()
    gc.freeze()
    rows: list[Row] = []
    with a_place(chosen.quick) as place:
        for name, measure in ROWS.items():
            if chosen.only not in name:
                continue
            begun = time.perf_counter()
            row = measure(place)
            # What is wanted is of the lengths of a full run.
            rows.append(replace(row, wanted=(), notes=()) if chosen.quick else row)
            print("\n".join(report.lines(rows[-1])))
            print(f"  ({name}, {time.perf_counter() - begun:.0f} s)\n", flush=True)
    if not rows:
        raise SystemExit(f"No row has {chosen.only!r} in its name. There are: {', '.join(ROWS)}.")
    if not chosen.quick:
        print(report.summary(rows))
    if chosen.into is not None:
        run = report.Run(
            command=" ".join(["python -m bench", *sys.argv[1:]]),
            date=datetime.date.today().isoformat(),
            machine=report.machine(),
            versions={**report.versions(), "commit": report.commit()},
            data=data,
            seconds=time.perf_counter() - started,
            rows=tuple(rows),
        )
        written = [report.save(run, chosen.into), *draw(run, chosen.into)]
        if not chosen.only:
            written.append(page.save(run, chosen.into.with_suffix(".md")))
        print("Written:", *written, sep="\n  ")


if __name__ == "__main__":
    main()
