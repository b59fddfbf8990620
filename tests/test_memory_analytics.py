"""Analytics: what is counted step by step is what a count of everything finds.

ONRECORD_SEEDS=100 runs 4,000 histories.
"""

from __future__ import annotations

import csv
import inspect
import io
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from math import isnan
from pathlib import Path
from random import Random
from typing import Any

import pytest

from onrecord import ANY, Damaged, InvalidName, Message, Misconfigured, Store
from onrecord.memory import analytics as module
from onrecord.memory import analytics_lesson as lesson
from onrecord.memory import learning
from onrecord.memory.analytics import Analytics
from onrecord.memory.analytics_reports import COLUMNS, DayStats, SessionStats, Summary
from onrecord.memory.preferences import Preferences
from onrecord.scope import AnyName
from onrecord.testing.contract import Face
from tests.children import Child, together
from tests.learning import Worker, everything, leases_end, lived

SEEDS = float(os.environ.get("ONRECORD_SEEDS", "1"))
DAY = datetime(2026, 3, 1, 9, tzinfo=UTC)

SUPPORT: list[tuple[str, list[tuple[str, str, float, bool]]]] = [
    (
        "day 1",
        [
            ("Hi, I can't login to my account. It says 'invalid password'.", "Oh.", 0.85, False),
            ("I tried resetting my password but didn't receive the email.", "Hm.", 0.78, False),
            ("My email is alice@example.com. Can you check?", "Thank you.", 0.92, True),
        ],
    ),
    (
        "day 2",
        [
            ("Did you send the password reset email?", "Yes.", 0.88, False),
            ("I still haven't received it. Can you resend?", "Please check.", 0.82, True),
        ],
    ),
    (
        "day 3",
        [
            ("Great! I received the email and reset my password. Thanks!", "Good.", 0.90, True),
            (
                "Now I have another question - how do I update my billing information?",
                "Here.",
                0.87,
                True,
            ),
        ],
    ),
]

OpenStore = Callable[..., Store]


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


def support(store: Store, user: str = "alice", **scope: Any) -> None:
    """The conversation of the origin, on three days."""
    for n, (key, turns) in enumerate(SUPPORT):
        at = DAY + timedelta(days=n)
        for asked, answer, confidence, resolved in turns:
            about = {"confidence": confidence, "resolved": resolved}
            store.session(key, user=user, **scope).append(
                [
                    Message("user", asked, created_at=at),
                    Message("assistant", answer, metadata=about, created_at=at),
                ]
            )


# What a user sees


def test_the_numbers_of_the_origin(store: Store, face: Face) -> None:
    support(store)
    analytics = face(Analytics(store))
    summary = analytics.summary()
    assert (summary.turns, summary.resolved, summary.resolution_rate) == (7, 4, 57.1)
    assert (summary.average_confidence, summary.sessions, summary.messages) == (0.86, 3, 14)
    assert summary["total_turns"] == 7
    assert f"Resolution rate: {summary['resolution_rate']}%" == "Resolution rate: 57.1%"
    assert f"Average confidence: {summary['average_confidence']}" == "Average confidence: 0.86"
    assert dict(summary) == summary.to_dict()
    assert str(summary).splitlines()[:6] == [
        "CONVERSATION ANALYTICS:",
        "   Sessions: 3",
        "   Total turns: 7",
        "   Resolved turns: 4",
        "   Resolution rate: 57.1%",
        "   Average confidence: 0.86",
    ]
    third, second, first = analytics.by_session()
    assert (first.turns, second.turns, third.turns) == (3, 2, 2)
    assert first.session.key == "day 1"
    assert str(first).splitlines()[:2] == ["SESSION 'day 1' of 'alice':", "   Turns: 3"]
    assert [(one.day, one.turns, one.resolved) for one in analytics.by_day()] == [
        (date(2026, 3, 1), 3, 1),
        (date(2026, 3, 2), 2, 1),
        (date(2026, 3, 3), 2, 2),
    ]
    assert analytics.by_session(limit=1) == [third]


def test_nothing_was_said(store: Store, face: Face) -> None:
    analytics = face(Analytics(store))
    assert analytics.summary() == Summary()
    assert (analytics.by_session(), analytics.by_day(), analytics.to_dicts()) == ([], [], [])
    assert analytics.summary().average_confidence is None
    assert "not said" in str(analytics.summary())
    assert store.feeds() == []
    assert store.namespaces() == [], "nothing is written where nobody has said anything"
    assert not analytics.forget()


def test_the_last_word_of_a_turn_counts(store: Store) -> None:
    chat, analytics = store.session("a"), Analytics(store)
    chat.append(("assistant", "Hello!"))
    chat.append({"role": "system", "content": "x", "metadata": {"resolved": True}})
    assert analytics.summary().turns == 0
    assert analytics.summary().resolved == 0, "before the first turn"

    def says(role: str, **metadata: Any) -> tuple[int, int, float | None]:
        chat.append({"role": role, "content": "x", "metadata": metadata})
        summary = analytics.summary()
        return summary.turns, summary.resolved, summary.average_confidence

    assert says("user", ticket_id="T-17") == (1, 0, None)
    assert says("assistant", resolved=True, confidence=0.5) == (1, 1, 0.5)
    assert says("tool", note="nothing of it") == (1, 1, 0.5)
    assert says("assistant", resolved=False, confidence=0.9) == (1, 0, 0.9)
    assert says("assistant", resolved=True) == (1, 1, 0.9)
    assert says("user") == (2, 1, 0.9)
    assert says("assistant", resolved=True, confidence=0.1) == (2, 2, 0.5)
    for what in ("yes", 1, None, [True]):
        assert says("assistant", resolved=what) == (2, 2, 0.5)
    for sure in (float("nan"), float("inf"), -0.1, 1.1, True, "high", None, 10**400):
        assert says("assistant", confidence=sure) == (2, 2, 0.5)


def test_tickets_are_counted_and_not_kept(store: Store) -> None:
    for key in "ab":
        for ticket in ("T-secret", "T-secret", 17, "", None, True):
            about = {"ticket_id": ticket}
            store.session(key, user="ada").append(
                [("user", "x"), {"role": "assistant", "content": "y", "metadata": about}]
            )
    analytics = Analytics(store)
    assert analytics.summary().tickets == 4
    assert [one.tickets for one in analytics.by_session()] == [2, 2]
    kept = str([item.value for item in store.items("onrecord", "analytics", "***").list()])
    assert "series" in kept
    assert "secret" not in kept
    assert "ada" not in kept


def test_a_sessions_own_metadata_is_that_of_now(store: Store) -> None:
    support(store)
    analytics = Analytics(store)
    analytics.summary()
    about = {"ticket_id": "T-1", "resolved": True}
    store.session("day 3", user="alice").update(title="Login", metadata=about)
    (row, *_) = analytics.by_session()
    assert (row.ticket_id, row.session.title) == ("T-1", "Login")
    assert row.to_dict()["session_resolved"] is True


def test_it_is_written_to_a_file_whole(store: Store, face: Face, tmp_path: Path) -> None:
    support(store, user='al"ice,\n=1')
    analytics, path = face(Analytics(store)), tmp_path / "sessions.csv"
    assert analytics.to_csv(path) == 3
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["session"] for row in rows] == ["day 3", "day 2", "day 1"]
    assert {row["user"] for row in rows} == {'al"ice,\n=1'}
    assert list(rows[0]) == list(analytics.to_dicts()[0])
    assert list(COLUMNS) == list(analytics.to_dicts()[0])
    into = io.BytesIO()
    assert analytics.to_csv(into) == 3
    assert into.getvalue() == path.read_bytes()
    with pytest.raises(Misconfigured, match=r"\.csv"):
        analytics.to_csv(tmp_path / "sessions.txt")
    with pytest.raises(Misconfigured, match="cannot be written"):
        analytics.to_csv(tmp_path / "nowhere" / "sessions.csv")
    with pytest.raises(Misconfigured, match="path is needed"):
        analytics.to_csv(7)
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".part"] == []


def test_a_file_that_could_not_be_written_keeps_what_it_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sessions.csv"
    path.write_text("before")
    with Store("sqlite://") as store:
        support(store)

        def fails(rows: Iterable[Iterable[Any]]) -> bytes:
            raise ValueError("no room")

        monkeypatch.setattr(module, "_lines", fails)
        with pytest.raises(ValueError, match="no room"):
            Analytics(store).to_csv(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pandas", "matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with Store("sqlite://") as store:
        with pytest.raises(Misconfigured, match=r'pandas: pip install "onrecord\[plots\]"'):
            Analytics(store).to_pandas()
        with pytest.raises(Misconfigured, match=r'matplotlib: pip install "onrecord\[plots\]"'):
            Analytics(store).plot()


def test_a_frame_has_a_row_for_each_session(face: Face) -> None:
    with Store("sqlite://") as store:
        support(store)
        frame = face(Analytics(store)).to_pandas()
        assert list(frame["turns"]) == [2, 2, 3]
        assert frame["last_active"][0].year >= 2026
        assert str(frame["created_at"].dtype).endswith(", UTC]")
        nobody = face(Analytics(store, user="nobody")).to_pandas()
        assert list(nobody.columns) == list(frame.columns)
        assert len(nobody) == 0


# An older matplotlib beside the newest pyparsing.
@pytest.mark.filterwarnings("ignore:.* deprecated - use:DeprecationWarning")
def test_a_plot_has_the_days(face: Face, tmp_path: Path) -> None:
    with Store("sqlite://") as store:
        support(store)
        figure = face(Analytics(store)).plot()
        (axes,) = figure.axes
        assert len(axes.patches) == 6
        figure.savefig(tmp_path / "days.png")
        assert (tmp_path / "days.png").read_bytes().startswith(b"\x89PNG")
        assert figure._repr_png_().startswith(b"\x89PNG"), "a notebook shows it"


def test_it_shows_itself(store: Store) -> None:
    analytics = Analytics(store)
    assert "CONVERSATION ANALYTICS" in str(analytics)
    store.session("a").append(Message("<b>", "x", created_at=DAY))
    page = analytics._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "2026-03-01" in page
    assert repr(analytics) == f"Analytics({store!r}, tenant=ANY, user=ANY, agent=ANY)"
    support(store)
    assert repr(analytics.by_session()[0]).startswith("SessionStats('day 3', turns=2")


def test_what_cannot_be() -> None:
    with pytest.raises(Misconfigured, match="store"):
        Analytics("sqlite://")  # type: ignore[arg-type]
    with Store("sqlite://") as store:
        for bad in (7, None, "\x00", "x" * 513):
            with pytest.raises(InvalidName):
                Analytics(store, user=bad)  # type: ignore[arg-type]
        for limit in (-1, 1.5, True, "1"):
            with pytest.raises(Misconfigured, match="limit"):
                Analytics(store).by_session(limit=limit)  # type: ignore[arg-type]
        assert store.feeds() == []


@pytest.mark.parametrize("cls", [Analytics, Preferences])
def test_every_method_has_its_twin(cls: type) -> None:
    names = [name for name in vars(cls) if not name.startswith("_") and callable(vars(cls)[name])]
    for name in names:
        if f"a{name}" not in names:
            assert name[1:] in names, name
            continue
        ours, twin = getattr(cls, name), getattr(cls, f"a{name}")
        assert inspect.signature(ours) == inspect.signature(twin)
        assert inspect.iscoroutinefunction(twin)
        assert twin.__doc__ == f"Like ``{name}``."


def test_nothing_heavy_is_imported() -> None:
    program = (
        "import sys, onrecord.memory; onrecord.memory.Analytics; onrecord.memory.Preferences\n"
        "heavy = ['sqlalchemy', 'redis', 'psycopg', 'pandas', 'matplotlib', 'langchain_core']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


# Whose


def test_scopes_do_not_share(store: Store) -> None:
    support(store, "alice", tenant="t")
    support(store, "bo", tenant="t", agent="x")
    support(store, "", tenant="t")
    support(store, "alice")
    expected: dict[tuple[AnyName, AnyName, AnyName], int] = {
        (ANY, ANY, ANY): 28,
        ("t", ANY, ANY): 21,
        ("t", "alice", ANY): 7,
        ("t", "", ANY): 7,
        ("t", ANY, ""): 14,
        ("t", ANY, "x"): 7,
        ("", ANY, ANY): 7,
        (ANY, "alice", ANY): 14,
        ("", "", ""): 0,
    }
    for _ in range(2):
        for (tenant, user, agent), turns in expected.items():
            analytics = Analytics(store, tenant=tenant, user=user, agent=agent)
            assert analytics.summary().turns == turns, (tenant, user, agent)
            assert sum(one.turns for one in analytics.by_session()) == turns
            assert sum(one.turns for one in analytics.by_day()) == turns
    assert Analytics(store).forget()
    assert Analytics(store, tenant="t").summary().turns == 21


def test_an_erased_user_is_subtracted_and_named_nowhere(store: Store) -> None:
    support(store, "alice")
    support(store, "bo")
    analytics = Analytics(store)
    assert analytics.summary().turns == 14
    store.erase(user="alice")
    kept = [item for item in store.find_items(limit=100)]
    assert kept
    assert "alice" not in str([(item.namespace, item.key, item.value) for item in kept])
    assert analytics.summary() == Analytics(store, user="bo").summary()
    assert {one.session.user for one in analytics.by_session()} == {"bo"}
    store.erase(user="bo")
    assert analytics.summary() == Summary()
    assert (analytics.by_day(), analytics.by_session()) == ([], [])


# The same as from nothing


def counted(store: Store, **scope: Any) -> tuple[Summary, list[tuple[Any, ...]], list[DayStats]]:
    """A count of everything, turn by turn."""
    sums, roles = Counter[str](), Counter[str]()
    days: dict[date, Counter[str]] = {}
    rows = []
    for info, messages in everything(store, **scope):
        own, tickets = Counter[str](), set()
        turns: list[list[Message]] = []
        for message in messages:
            assert message.created_at is not None
            of_day = days.setdefault(message.created_at.date(), Counter())
            more = {"messages": 1, "tokens": message.tokens or 0}
            of_day.update(more)
            own.update(more)
            roles[message.role] += 1
            ticket = message.metadata.get("ticket_id")
            if isinstance(ticket, str | int) and ticket != "":
                tickets.add(repr(ticket))
            if message.role == "user" and not message.native:
                turns.append([])
            if turns:
                turns[-1].append(message)
        for turn in turns:
            resolved = [m.metadata.get("resolved") for m in turn]
            last = [one for one in resolved if one is True or one is False][-1:]
            said: list[Any] = [m.metadata.get("confidence") for m in turn]
            numbers = [one for one in said if type(one) in (int, float) and not isnan(one)]
            sure = [one for one in numbers if 0 <= one <= 1][-1:]
            more = {"turns": 1, "resolved": int(last == [True]), "rated": len(sure)}
            more["millionths"] = round(sum(sure) * 1_000_000)
            assert turn[0].created_at is not None
            days[turn[0].created_at.date()].update(more)
            own.update(more)
        sums.update(own)
        sums.update(sessions=1, tickets=len(tickets))
        rows.append((info.key, info.user, info.agent, +own, len(tickets)))
    summary = Summary(
        **sums, by_role=dict(sorted(roles.items(), key=lambda one: (-one[1], one[0])))
    )
    return summary, sorted(rows), [DayStats(day=day, **days[day]) for day in sorted(days)]


def found(analytics: Analytics) -> tuple[Summary, list[tuple[Any, ...]], list[DayStats]]:
    summary, days = analytics.summary(), analytics.by_day()
    rows = [(*_name(one), _numbers(one), one.tickets) for one in analytics.by_session()]
    return summary, sorted(rows), days


def _name(one: SessionStats) -> tuple[str, str, str]:
    return one.session.key, one.session.user, one.session.agent


def _numbers(one: SessionStats) -> Counter[str]:
    names = ("turns", "resolved", "rated", "messages", "tokens", "millionths")
    return +Counter({name: getattr(one, name) for name in names})


def _small(monkeypatch: pytest.MonkeyPatch, dice: Random) -> None:
    """Bounds are met."""
    monkeypatch.setattr(learning, "TOGETHER", 2)
    monkeypatch.setattr(learning, "LARGEST", dice.choice([60, 150, 2_048]))
    monkeypatch.setattr(learning, "FEW", dice.choice([1, 3]))
    monkeypatch.setattr(learning, "_MOST_WRITES", dice.choice([4, 100]))
    monkeypatch.setattr(learning, "_PAGE", 3)
    monkeypatch.setattr(module, "_PAGE", 2)
    monkeypatch.setattr("onrecord.flows.feed.reading.MESSAGES", dice.choice([3, 1_000]))


def history(store: Store, dice: Random, steps: int) -> None:
    everybody, hers = Analytics(store), Analytics(store, tenant="", user="ada")
    workers = [Worker(work._summary) for work in (everybody, everybody, hers)]
    lived(store, dice, steps, workers)
    assert found(everybody) == counted(store)
    assert found(hers) == counted(store, tenant="", user="ada")
    if dice.random() < 0.2:
        assert everybody.forget()
        assert found(everybody) == counted(store)


@pytest.mark.parametrize("seed", range(max(1, int(40 * SEEDS))))
def test_histories(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = Random(seed)
    _small(monkeypatch, dice)
    with Store("sqlite://") as store:
        history(store, dice, 120)


@pytest.mark.parametrize("seed", range(max(1, int(4 * SEEDS))))
def test_histories_on_each_store(
    seed: int, each_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = Random(1_000 + seed)
    _small(monkeypatch, dice)
    history(each_store(), dice, 100)


@pytest.mark.parametrize("then", ["nothing", "more", "rewritten", "erased"])
def test_killed_between_any_two_steps(then: str) -> None:
    """Whoever goes on finds what a count of everything finds."""
    step, more = 0, True
    while more:
        with Store("sqlite://") as store:
            support(store)
            analytics = Analytics(store)
            if step % 2:
                analytics.summary()
                support(store, "bo")
                store.session("day 1", user="alice").edit(1, ("user", "else"))
            worker = Worker(analytics._summary)
            more = worker.step()
            for _ in range(step):
                more = more and worker.step()
            match then:
                case "more":
                    support(store)
                case "rewritten":
                    store.session("day 2", user="alice").rewind(2)
                case "erased":
                    store.erase(user="alice", thorough=False)
            leases_end(store)
            assert found(analytics) == counted(store)
        step += 1
    assert step > 5, "there were so many calls"


def test_who_is_late_brings_nothing_back() -> None:
    """Its lease is over, others have gone on, and then it writes."""
    for steps in range(1, 9):
        with Store("sqlite://") as store:
            support(store)
            analytics = Analytics(store)
            late = Worker(analytics._summary)
            for _ in range(steps):
                late.step()
            leases_end(store)
            store.session("day 1", user="alice").rewind(2)
            store.session("day 2", user="alice").erase(thorough=False)
            assert analytics.summary().turns == 3
            while late.step():
                pass
            assert late.answer.turns == 3
            leases_end(store)
            assert found(analytics) == counted(store)


def test_what_was_taken_away_is_counted_anew(store: Store) -> None:
    analytics = Analytics(store)
    support(store)
    support(store, "bo")
    assert analytics.summary().turns == 14
    generation = store.feeds()[0].name
    # Part of it: the feed says that these were counted, and they are not there.
    items = store.items("onrecord", "analytics", "***")
    items.delete_many([item.key for item in items.list() if "/g" in item.key])
    support(store)
    assert found(analytics) == counted(store)
    assert [info.name == generation for info in store.feeds()] == [False]
    items.clear()
    assert found(analytics) == counted(store)
    assert sum(item.key == "sums" for item in items.list(limit=100)) == 1
    store.erase(tenant="", user="", agent="")
    assert found(analytics) == counted(store)
    assert analytics.summary().turns == 21


def test_what_is_apart_and_lost_is_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "LARGEST", 10)
    with Store("sqlite://") as store:
        support(store)
        analytics = Analytics(store)
        assert found(analytics) == counted(store)
        items = store.items("onrecord", "analytics", "***")
        assert items.delete_many([i.key for i in items.list() if "/s" in i.key]) == 3
        store.session("day 1", user="alice").rewind(2)
        assert found(analytics) == counted(store)


def test_what_was_pruned_is_subtracted(store: Store) -> None:
    support(store)
    analytics = Analytics(store)
    assert analytics.summary().turns == 7
    assert store.prune(tenant=ANY, user=ANY, agent=ANY, older_than=datetime.now(UTC)).sessions
    assert analytics.summary() == Summary()


def test_what_came_from_another_database_is_counted_anew(tmp_path: Path) -> None:
    with Store("sqlite://") as old:
        support(old, "bo")
        support(old, "")
        assert Analytics(old).summary().turns == 14
        old.export(tmp_path / "old.jsonl", tenant="", user="", agent="")
    with Store("sqlite://") as store:
        store.import_(tmp_path / "old.jsonl")
        assert store.items("onrecord", "analytics", "***").count() > 1
        assert found(Analytics(store)) == counted(store)
        assert Analytics(store).summary().turns == 7


def series_of(store: Store) -> set[str]:
    items = store.items("onrecord", "analytics", "***").list(limit=1_000)
    return {item.key.split("/")[0] for item in items if "/" in item.key}


def test_a_forget_that_was_killed_leaves_nothing_for_good() -> None:
    step, more = 0, True
    while more:
        with Store("sqlite://") as store:
            support(store)
            analytics = Analytics(store)
            analytics.summary()
            worker = Worker(analytics._learner.forget)
            more = worker.step()
            for _ in range(step):
                more = more and worker.step()
            leases_end(store)
            assert found(analytics) == counted(store)
            assert len(series_of(store)) == len(store.feeds()) == 1
        step += 1
    assert step > 4


def test_who_counts_while_another_begins_anew(store: Store) -> None:
    support(store)
    analytics = Analytics(store)
    late, other = Worker(analytics._summary), Worker(analytics._summary)
    late.step()
    while late._call.method.__name__ != "done":
        late.step()
    analytics.forget()
    other.step()
    while other._call.method.__name__ != "read":
        other.step()
    head = store.items("onrecord", "analytics", "***").get("sums")
    assert head is not None
    for worker in (late, other):
        while worker.step():
            pass
    assert late.answer.turns == 7
    assert other.answer.turns == 7
    assert series_of(store) == {head.value["series"]}
    assert found(analytics) == counted(store)


def test_who_finds_nothing_because_all_is_held(store: Store) -> None:
    """By somebody who reads what was forgotten, while all is counted anew."""
    support(store)
    analytics = Analytics(store)
    analytics.summary()
    one, two = Worker(analytics._summary), Worker(analytics._summary)
    for worker in (one, two):
        while worker._call is None or worker._call.method.__name__ != "read":
            worker.step()
    analytics.forget()
    begins = Worker(analytics._summary)
    while begins._call is None or begins._call.method.__name__ != "read":
        begins.step()
    two.step()
    while one.step():
        pass
    assert one.answer.turns == 7


def test_what_is_damaged_says_what_to_do(store: Store) -> None:
    support(store)
    analytics = Analytics(store)
    analytics.summary()
    items = store.items("onrecord", "analytics", "***")
    for key, wrong in [("sums", 7), ("sums", {"series": 1}), ("g", b"\xc1"), ("b", [1])]:
        (there,) = [item.key for item in items.list() if key in (item.key, item.key[13:14])]
        items.put(there, wrong)
        support(store)
        with pytest.raises(Damaged, match=r"forget\(\)"):
            analytics.summary()
        assert analytics.forget()
        assert items.count() == 0
        assert found(analytics) == counted(store)


def test_forget_takes_all_of_it(store: Store, face: Face) -> None:
    support(store)
    analytics = face(Analytics(store))
    analytics.summary()
    assert analytics.forget()
    assert not analytics.forget()
    assert store.namespaces() == []
    assert store.feeds() == []
    assert analytics.summary().turns == 7


def test_a_session_that_knows_no_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lesson, "MOST_DAYS", 5)
    monkeypatch.setattr(lesson, "MOST_ROLES", 3)
    monkeypatch.setattr(lesson, "MOST_TICKETS", 4)
    with Store("sqlite://") as store:
        chat, analytics = store.session("a"), Analytics(store)
        for n in range(12):
            about = {"ticket_id": n}
            at = DAY + timedelta(days=n)
            chat.append(
                Message("user" if n < 9 else f"r{n}" * 99, "x", metadata=about, created_at=at)
            )
            chat.append(Message(f"r{n}" * 99, "y", created_at=at))
            analytics.summary()
        there = found(analytics)
        assert (there[0].turns, there[0].messages, there[0].tickets) == (9, 24, 4)
        assert len(there[2]) == 5
        assert len(there[0].by_role) == 4
        assert there[0].by_role["…"] > 3
        assert max(map(len, there[0].by_role)) <= 64
        assert analytics.forget()
        assert found(analytics) == there


# Several at once


def test_two_processes_at_once(each_store: OpenStore) -> None:
    with each_store() as store:
        url = store._ledger.address.url.render_as_string(hide_password=False)
        cache = store._hot.where
        for n in range(20):
            support(store, f"u{n}")

    def work(number: int, meet: Callable[[], object]) -> None:
        with Store(url, cache=cache) as store:
            meet()
            for n in range(6):
                support(store, f"v{number}")
                store.session("day 1", user=f"u{n}").append(("user", "again"))
                Analytics(store).summary()

    together(work)
    with each_store() as store:
        assert found(Analytics(store)) == counted(store)
        assert Analytics(store).summary().turns == 140 + 2 * 6 * 8


@pytest.mark.parametrize("at", ["read", "get_many", "done"])
def test_a_process_that_is_killed(at: str, each_store: OpenStore) -> None:
    with each_store() as store:
        url = store._ledger.address.url.render_as_string(hide_password=False)
        cache = store._hot.where
        support(store)

    def die() -> None:
        with Store(url, cache=cache) as store:
            worker = Worker(Analytics(store)._summary)
            worker.step()
            while worker._call.method.__name__ != at:
                worker.step()
            worker.step()
            os.kill(os.getpid(), signal.SIGKILL)

    child = Child(die)
    os.waitpid(child.pid, 0)
    with each_store() as store:
        support(store, "bo")
        leases_end(store)
        assert found(Analytics(store)) == counted(store)
        assert Analytics(store).summary().turns == 14


def test_a_name_that_a_summary_has_not_names_those_that_it_has() -> None:
    with pytest.raises(KeyError, match=r"'resolved_rate': a summary has total_turns, .*rate"):
        Summary()["resolved_rate"]
