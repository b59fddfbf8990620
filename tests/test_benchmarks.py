"""What the benchmark makes of its measurements, and that the page says what the last run found."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from bench import data, page, report
from bench.foundation import Bare
from bench.measuring import Contender, Found, Kind, Row, Wanted, timed
from bench.reasons import REASONS

ROOT = Path(__file__).parents[1]
LAST = ROOT / "docs" / "reference" / "benchmarks" / "benchmarks.json"


def row(unit: str, ours: tuple[float, ...], peer: tuple[float, ...], *wanted: Wanted) -> Row:
    found = (
        Found(name="ours", kind=Kind.OURS, values=ours),
        Found(name="peer", kind=Kind.PEER, values=peer),
    )
    return Row(name="r", title="A job", settings="here", unit=unit, found=found, wanted=wanted)


def wanted(at_least: float | None = None, at_most: float | None = None) -> Wanted:
    return Wanted(text="x", ours="ours", beside=("peer",), at_least=at_least, at_most=at_most)


def test_ratios_are_those_of_a_round() -> None:
    """A slow round of the machine meets both, and changes nothing."""
    slow = row("seconds", (1.0, 1.0, 9.0), (2.0, 2.0, 18.0))
    assert slow.ratio("ours", "peer") == (0.5, 0.5, 0.5)
    spread = row("seconds", (1.0,) * 5, (1.0, 2.0, 4.0, 5.0, 10.0))
    assert spread.ratio("ours", "peer") == (0.25, 0.2, 0.5)


@pytest.mark.parametrize(
    ("unit", "ours", "peer", "wish", "value", "met"),
    [
        ("seconds", 1.0, 3.0, wanted(at_least=2), 3.0, True),
        ("seconds", 1.0, 1.5, wanted(at_least=2), 1.5, False),
        ("seconds", 3.0, 2.0, wanted(at_most=1.5), 1.5, True),
        ("seconds", 4.0, 2.0, wanted(at_most=1.5), 2.0, False),
        ("per second", 600.0, 200.0, wanted(at_least=3), 3.0, True),
        ("per second", 150.0, 200.0, wanted(at_least=0.8), 0.75, False),
    ],
)
def test_wishes(unit: str, ours: float, peer: float, wish: Wanted, value: float, met: bool) -> None:
    found, enough = row(unit, (ours,), (peer,), wish).outcome(wish)
    assert found == pytest.approx(value)
    assert enough == met


@pytest.mark.parametrize("values", [(0.0,), (0.0, -4096.0), (0.0, 0.0, 0.0)])
@pytest.mark.parametrize("who", ["ours", "peer"])
def test_what_cannot_be_compared_says_so(who: str, values: tuple[float, ...]) -> None:
    """A process that holds a few sessions more may not grow at all, or even shrink."""
    wish = wanted(at_least=1)
    grown = (8_000.0,) * len(values)
    ours, peer = (values, grown) if who == "ours" else (grown, values)
    one = row("bytes", ours, peer, wish)
    assert one.ratio("ours", "peer") is None
    assert one.outcome(wish) == (None, False)
    shown = list(report.lines(one))
    assert shown[3].endswith("   cannot be compared: one of the two took nothing")
    assert shown[4] == "  wanted: x. NOT met: cannot be compared: one of the two took nothing"


def test_rounds_that_can_be_compared_are() -> None:
    one = row("bytes", (0.0, 4.0, 4.0), (8.0, 8.0, 0.0))
    assert one.ratio("ours", "peer") == (0.5, 0.5, 0.5)


def test_the_best_of_several_peers_counts() -> None:
    wish = Wanted(text="x", ours="ours", beside=("slow", "quick"), at_least=2)
    values = {"ours": 1.0, "slow": 9.0, "quick": 1.5}
    found = tuple(Found(name=n, kind=Kind.PEER, values=(v,)) for n, v in values.items())
    one = Row(name="r", title="", settings="", unit="seconds", found=found, wanted=(wish,))
    assert one.outcome(wish) == (1.5, False)


def test_all_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    contenders = [Contender(n, Kind.OURS, lambda n=n: calls.append(n)) for n in "ab"]  # type: ignore[misc]
    found = timed(3, contenders, calls=2)
    assert "".join(calls) == "aabb" * 4
    assert [len(one.values) for one in found] == [3, 3]


def test_the_bare_append_fits_the_tables(tmp_path: Path) -> None:
    bare = Bare(tmp_path / "bare.db")
    bare.append()
    bare.append()
    with closing(bare.connect()) as connection:
        found = connection.execute("SELECT count(*), count(frame) FROM onrecord_tail")
        assert found.fetchone() == (2, 2)


def test_generated_conversations_are_as_long_as_real_ones() -> None:
    made = [data._generated(n) for n in range(870)]
    lengths = sorted(map(len, made))
    assert (lengths[435], lengths[783]) == (3, 30)
    sizes = sorted(len(said["content"]) for conversation in made for said in conversation)
    assert 35 <= sizes[len(sizes) // 2] <= 55


def test_the_page_says_what_the_last_run_found() -> None:
    run = report.load(LAST)
    shown = (ROOT / "docs" / "reference" / "benchmarks.md").read_text(encoding="utf-8")
    assert shown == page.page(run)
    assert "--quick" not in run.command
    for picture in re.findall(r"\]\((benchmarks/[^)]+)\)", page.page(run)):
        assert (ROOT / "docs" / "reference" / picture).exists()


def test_a_target_that_is_missed_has_its_reason() -> None:
    for one in report.load(LAST).rows:
        if not all(one.outcome(wish)[1] for wish in one.wanted):
            assert one.name in REASONS, f"{one.name}: why?"


def test_the_readme_repeats_what_the_page_says() -> None:
    """Each ratio in the README's table stands under its row's name in the page."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    claims = re.findall(r"^\| .* \| \*\*([\d.,]+ ×)\*\* \| `([a-z-]+)`, (.+?) \|$", readme, re.M)
    assert len(claims) == 4
    rows = {one.name: one for one in report.load(LAST).rows}
    for ratio, name, peer in claims:
        found = rows[name].of(peer)
        assert report.ratios(rows[name], found).startswith(f"{ratio} ours")


def test_the_page_about_alternatives_repeats_what_was_measured() -> None:
    """Each ratio stands in the section of the row that it names."""
    page = (ROOT / "docs/explanation/alternatives.md").read_text(encoding="utf-8")
    claims = re.findall(r"([\d.,]+ × ours) \(`([a-z-]+)`\)", page)
    assert len(claims) == page.count(" × ") >= 10
    measured = (ROOT / "docs/reference/benchmarks.md").read_text(encoding="utf-8")
    sections = {name: text for text in measured.split("\n## ") for name in _named(text)}
    for ratio, name in claims:
        assert f"| {ratio}" in sections[name], f"{name}: {ratio}"


def _named(section: str) -> list[str]:
    return re.findall(r"^`([a-z-]+)`: ", section, re.M)


def test_the_page_on_sizing_quotes_the_last_run() -> None:
    measured = (ROOT / "docs" / "reference" / "benchmarks.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^`([\w-]+)`: (.*?)(?=^## |\Z)", measured, re.M | re.S))
    page = (ROOT / "docs" / "how-to" / "sizing.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([\w-]+)` \| .* \| (\S+(?: µs)?) \|$", page, re.M)
    assert len(quoted) == 6
    for row, value in quoted:
        assert f"| {value} |" in sections[row], row
    assert "| 9.76 MB |" in sections["memory"]
    assert "| 1.33 MB |" in sections["graph-size"]
    assert "| 2.56 MB |" in sections["graph-size"]
