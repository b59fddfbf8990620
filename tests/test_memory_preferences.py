"""Preferences: learned from the user's own words alone, once, and gone with the user.

ONRECORD_SEEDS=100 runs 4,000 histories.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from onrecord import ANY, InvalidName, Message, Misconfigured, Store, ToolResult
from onrecord.memory import learning
from onrecord.memory import preferences as module
from onrecord.memory.analytics import Analytics
from onrecord.memory.episode import Episode
from onrecord.memory.episodic import EpisodicMemory
from onrecord.memory.preferences import Evidence, Learned, Preferences
from onrecord.memory.rules import DEFAULT, Rules, by_length, by_words
from onrecord.testing.contract import Face
from tests.children import Child, together
from tests.learning import Worker, everything, leases_end, lived
from tests.test_memory_analytics import support

SEEDS = float(os.environ.get("ONRECORD_SEEDS", "1"))

OpenStore = Callable[..., Store]


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


def says(store: Store, *texts: str, user: str = "ada", key: str = "s", **scope: str) -> None:
    store.session(key, user=user, **scope).append(
        [one for text in texts for one in (("user", text), ("assistant", "Please. Cool, billing!"))]
    )


def _there(found: Evidence | None) -> Evidence:
    assert found is not None
    return found


# What is learned


def test_what_the_origin_learns(store: Store, face: Face) -> None:
    support(store)
    learned = face(Preferences(store, "alice")).read()
    assert (learned.length, learned.topics, learned.turns) == ("medium", ("login", "billing"), 7)
    assert learned.to_dict() == {
        "communication_style": "undecided",  # one "Thanks!"; the agent's own words do not count
        "response_length": "medium",
        "common_topics": ["login", "billing"],
    }
    assert learned.of("login") == Evidence("topics", "login", 4, {"password": 4, "login": 1})
    assert str(learned) == "The user has often asked about login and billing."


def test_a_formal_and_a_casual_user(store: Store, face: Face) -> None:
    for n in range(3):
        says(store, "Could you please help me? I'd appreciate it.", key=f"{n}")
        says(store, "Hey, thanks for the help! That's awesome.", user="bo", key=f"{n}")
    formal, casual = (face(Preferences(store, user)).read() for user in ("ada", "bo"))
    assert (formal.style, formal.length) == ("formal", "brief")
    assert (casual.style, casual.length) == ("casual", "brief")
    assert formal.of("formal") == Evidence("style", "formal", 3, {"appreciate": 3, "please": 3})
    assert dict(_there(casual.of("casual")).words) == {"awesome": 3, "hey": 3, "thanks": 3}
    assert casual.of("formal") is None
    assert formal.prompt == "The user writes formally and briefly: answer in the same way."
    assert casual.prompt == "The user writes casually and briefly: answer in the same way."
    assert str(formal.evidence[0]) == "formal: appreciate (3), please (3)"


def test_words_are_whole_words() -> None:
    def style(text: str) -> list[tuple[str, str]]:
        return DEFAULT.say("style", text)

    assert style("thanks") == [("casual", "thanks")]
    assert style("Thank\n  YOU!") == [("formal", "thank you")]
    assert style("Thanksgiving, displeased, they cooled") == []
    assert style("please-please") == [("formal", "please")] * 2
    topics = [name for name, _ in DEFAULT.say("topics", "It's NOT  working: the billings crashed")]
    assert topics == ["technical", "technical"]
    assert DEFAULT.say("topics", "chargeback profiled discharge") == []
    assert by_words({"no": ["can't"]})("I can\u2019t")
    assert DEFAULT.say("length", "x" * 49)[0][0] == "brief"
    assert DEFAULT.say("length", " " + "x" * 50 + " ")[0][0] == "medium"
    assert DEFAULT.say("length", "x" * 150)[0][0] == "medium"
    assert DEFAULT.say("length", "x" * 151)[0][0] == "detailed"


def test_nothing_is_said_before_three_turns(store: Store) -> None:
    preferences = Preferences(store, "ada")
    for turns in range(4):
        learned = preferences.read()
        assert learned.turns == turns
        assert (learned.prompt == "") == (turns < 3)
        assert (learned == Learned(turns=turns)) == (turns < 3)
        says(store, "Please, the invoice: kindly.")
    assert Preferences(store, "ada", turns=5).read() == Learned(turns=4)
    assert Preferences(store, "ada", turns=1).read().style == "formal"


def test_as_many_words_for_both_decide_nothing(store: Store) -> None:
    says(store, "please, thanks", "kindly, cool", "x" * 60)
    learned = Preferences(store, "ada").read()
    assert learned.style == "undecided"
    assert [one.count for one in learned.evidence if one.kind == "style"] == [2, 2]
    assert learned.length == "brief"
    says(store, "x" * 60)
    assert Preferences(store, "ada").read().length == "medium"


def test_only_what_the_user_said_counts(store: Store) -> None:
    chat = store.session("s", user="ada")
    for role in ("assistant", "system", "tool", "User"):
        chat.append([(role, "Please, kindly: the invoice.")] * 4)
    result = Message("user", (ToolResult("1", "please kindly invoice"),))
    chat.append([result] * 4)
    assert Preferences(store, "ada").read() == Learned()
    chat.append([("user", ""), ("user", " \n"), ("user", "?")])
    learned = Preferences(store, "ada").read()
    assert (learned.turns, learned.style, learned.length) == (3, "undecided", "brief")


def test_what_happened_was_said_by_nobody(store: Store, face: Face) -> None:
    said = "Please, kindly: the invoice."
    memory = face(EpisodicMemory(store, agent_id="x", user="ada"))
    memory.record_many([("alarm", said), ("mail", {"text": said})], "chat")
    memory.record("session_user", {"content": "hey", "tool_call": None}, "chat")
    memory.record("session_user", {"content": "hey", "mood": 3}, "chat")
    for n in range(4):
        memory.store_episode(
            Episode.observation("x", said, created_at=datetime(2026, 1, 1 + n, tzinfo=UTC))
        )
    memory.store_episode(Episode.action("x", said, said))
    memory.store_episode(Episode.conversation("x", "hey", said))
    for _ in range(2):
        learned = face(Preferences(store, "ada", agent="x")).read()
        assert (learned.turns, learned.style, learned.topics) == (3, "casual", ())
        summary = face(Analytics(store, agent="x")).summary()
        assert summary.turns == 3
        memory.consolidate(datetime(2026, 2, 1, tzinfo=UTC), lambda episodes: said)


def test_never_anothers_words(store: Store) -> None:
    names = ["ada", "ada ", "ADA", "%", "a:b", "'; DROP TABLE x", "\U0001f600"]
    for n, name in enumerate(names):
        says(store, *["please, kindly"] * (3 + n), user=name)
        says(store, *["hey, cool"] * 9, user=name, tenant="t")
    for n, name in enumerate(names):
        learned = Preferences(store, name).read()
        assert (learned.turns, learned.style) == (3 + n, "formal")
        assert Preferences(store, name, tenant="t").read().style == "casual"
    assert Preferences(store, "nobody").read() == Learned()


def test_of_one_agent_or_of_all(store: Store) -> None:
    says(store, *["please, kindly"] * 3)
    says(store, *["hey, cool"] * 4, agent="bot")
    assert Preferences(store, "ada").read().turns == 7
    assert Preferences(store, "ada", agent="bot").read().style == "casual"
    assert Preferences(store, "ada", agent="").read().style == "formal"


def test_rules_are_replaced(store: Store) -> None:
    says(store, *["Where is my parcel, mate?"] * 3, "x" * 30)
    mine = Rules(
        "parcels",
        style=by_words({"Australian": "mate"}),
        length=by_length(5, 10),
        topics=lambda text: [("parcels", "parcel")] if "parcel" in text else [],
    )
    learned = Preferences(store, "ada", rules=mine).read()
    assert (learned.style, learned.length) == ("Australian", "detailed")
    assert learned.topics == ("parcels",)
    assert learned.prompt == (
        "The user writes in detail and in a style that is Australian: answer in the same way. "
        "The user has often asked about parcels."
    )
    assert Preferences(store, "ada").read().topics == ()


@pytest.mark.parametrize(
    "rule",
    [
        lambda text: 1 / 0,
        lambda text: None,
        lambda text: ["formal"],
        lambda text: [("formal", 7)],
        lambda text: [("", "x")],
        lambda text: [("x" * 65, "x")],
        lambda text: [("formal", "a\nb")],
    ],
)
def test_a_rule_that_fails_is_named(rule: Any, store: Store) -> None:
    says(store, *["please, kindly"] * 3)
    with pytest.raises(Misconfigured, match="rule for style of 'mine'"):
        Preferences(store, "ada", rules=Rules("mine", style=rule)).read()
    assert Preferences(store, "ada").read().style == "formal"
    leases_end(store)
    assert Preferences(store, "ada", rules=Rules("mine")).read().style == "formal", "it came again"


def test_a_rule_that_says_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NAMES", 9)
    rules = Rules("all words", topics=lambda text: [(word, word) for word in text.split()])
    with Store("sqlite://") as store:
        preferences = Preferences(store, "ada", rules=rules)
        for n in range(9):
            says(store, f"w{n} v{n}", "w0")
            preferences.read()
        learned = preferences.read()
        assert learned.topics[0] == "w0"
        assert len(learned.topics) < 9
        assert preferences.forget()
        assert preferences.read() == learned


def test_what_cannot_be() -> None:
    with pytest.raises(Misconfigured, match="store"):
        Preferences("sqlite://", "ada")  # type: ignore[arg-type]
    with Store("sqlite://") as store:
        for bad in ("", 7, None, ANY, "\x00", "x" * 513):
            with pytest.raises(InvalidName, match="user"):
                Preferences(store, bad)  # type: ignore[arg-type]
        with pytest.raises(Misconfigured, match="tenant"):
            Preferences(store, "ada", tenant=ANY)  # type: ignore[arg-type]
        with pytest.raises(Misconfigured, match="Rules"):
            Preferences(store, "ada", rules={})  # type: ignore[arg-type]
        for turns in (0, -1, 1.5, True, "3", float("nan")):
            with pytest.raises(Misconfigured, match="turns"):
                Preferences(store, "ada", turns=turns)  # type: ignore[arg-type]
        assert store.feeds() == []
    for name in ("", "\x00", 7):
        with pytest.raises(Misconfigured, match="name"):
            Rules(name)  # type: ignore[arg-type]
    for words in (7, "please", ["please"], {"formal": 7}, {7: ["please"]}, {"": ["please"]}, {}):
        with pytest.raises(Misconfigured, match="words"):
            by_words(words)  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="style"):
        Rules("x", style=7)  # type: ignore[arg-type]

    async def slow(text: str) -> Iterable[tuple[str, str]]:
        return []

    with pytest.raises(Misconfigured, match="not an async one"):
        Rules("x", style=slow)  # type: ignore[arg-type]
    wrong: tuple[Any, ...] = ({}, {"a": []}, {"a": [" "]}, {"a": [7]})
    for words in wrong:
        with pytest.raises(Misconfigured, match="word"):
            by_words(words)
    with pytest.raises(Misconfigured, match="detailed"):
        by_length(10, 5)


def test_it_shows_itself(store: Store) -> None:
    says(store, *["please, kindly"] * 3)
    preferences = Preferences(store, "ada")
    assert str(preferences) == preferences.read().prompt != ""
    assert repr(preferences) == f"Preferences(user='ada', agent=ANY in {store!r})"
    assert repr(preferences.read()) == (
        "Learned(style='formal', length='brief', topics=(), turns=3)"
    )
    assert (preferences.user, preferences.store) == ("ada", store)


def test_a_search_does_not_find_what_was_learned(store: Store) -> None:
    says(store, *["please, the invoice, kindly"] * 3)
    assert Preferences(store, "ada").read().style == "formal"
    store.items("facts", user="ada").put("k", "an invoice")
    hits = store.search_items("invoice please formal", user="ada")
    assert [hit.item.key for hit in hits] == ["k"]


# Erased


def traces(store: Store, user: str) -> list[Any]:
    """What was learned of somebody, wherever it is."""
    items = store.find_items(("onrecord",), user=user, limit=1_000)
    return [item for item in items if item.key != "sums" or item.value["numbers"]]


def test_an_erased_users_preferences_are_gone_at_once(store: Store) -> None:
    says(store, *["please, the invoice, kindly"] * 3)
    says(store, *["please, the invoice, kindly"] * 3, user="bo")
    assert Preferences(store, "ada").read().style == "formal"
    assert Preferences(store, "bo").read().style == "formal"
    receipt = store.erase(user="ada", agent=ANY)
    assert receipt.removed["onrecord_items"] >= 2
    assert store.find_items(("onrecord",), user="ada") == []
    with_cache = store.items("onrecord", "preferences", "default", "==*", user="ada")
    assert with_cache.get("sums") is None
    assert Preferences(store, "ada").read() == Learned()
    assert store.find_items(("onrecord",), user="ada") == [], "no name is written again"
    assert Preferences(store, "bo").read().style == "formal"
    says(store, *["hey, cool"] * 3)
    assert Preferences(store, "ada").read().style == "casual"
    assert Preferences(store, "ada").read().of("formal") is None


@pytest.mark.parametrize("known", [False, True])
def test_erased_while_somebody_learns(store: Store, known: bool) -> None:
    """Between any two of its steps."""
    step, more = 0, True
    while more:
        user = f"ada {step}"
        says(store, *["please, the invoice, kindly"] * 3, user=user)
        preferences = Preferences(store, user)
        if known:
            assert preferences.read().style == "formal"
            says(store, "please", user=user)
        late = Worker(preferences._read)
        more = late.step()
        for _ in range(step):
            more = more and late.step()
        store.erase(user=user, agent=ANY, thorough=False)
        assert traces(store, user) == []
        if more:
            while late.step():
                pass
            assert late.answer == Learned()
        assert traces(store, user) == []
        assert preferences.read() == Learned()
        step += 1
    assert step > 4, "there were so many calls"


def test_a_turn_waits_for_the_disk_by_its_append_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is learned is written in one commit with the feed's, and lost with it at the worst."""
    preferences = Preferences(store, "ada")
    says(store, "one", "two", "three")
    preferences.read()
    commits: list[bool] = []
    write = type(store._ledger).write

    def counted(self: Any, work: Any, durable: bool = True) -> Any:
        commits.append(durable)
        return write(self, work, durable)

    monkeypatch.setattr(type(store._ledger), "write", counted)
    says(store, "four")
    assert preferences.read().turns == 4
    assert commits == [True, False, store._desk.marks]


def test_an_erased_session_is_forgotten(store: Store) -> None:
    says(store, *["please, the invoice, kindly"] * 3)
    says(store, *["hey, cool"] * 3, key="other")
    preferences = Preferences(store, "ada")
    assert preferences.read().topics == ("billing",)
    store.session("s", user="ada").erase()
    learned = preferences.read()
    assert (learned.style, learned.topics, learned.turns) == ("casual", (), 3)
    store.session("other", user="ada").clear()
    assert preferences.read() == Learned()


# The same as from nothing


def expected(store: Store, **scope: Any) -> Learned:
    """A look at everything that a user said, with words found in another way."""
    turns = 0
    messages: Counter[tuple[Any, str]] = Counter()
    words: Counter[tuple[Any, str, str]] = Counter()
    for _, said in everything(store, **scope):
        for message in said:
            if message.role != "user" or message.native:
                continue
            turns += 1
            text = message.text.strip()
            if not text:
                continue
            length = "brief" if len(text) < 50 else "detailed" if len(text) > 150 else "medium"
            messages["length", length] += 1
            plain = f" {' '.join(re.split(r'[^a-z]+', text.lower()))} "
            for kind, some in (("style", STYLE), ("topics", TOPICS)):
                for name, of in some.items():
                    found = {word: plain.count(f" {word} ") for word in of if f" {word} " in plain}
                    messages[kind, name] += bool(found)
                    words.update({(kind, name, word): n for word, n in found.items()})
    if turns < 3:
        return Learned(turns=turns)
    style = {name: sum(n for (_, of, _), n in words.items() if of == name) for name in STYLE}
    lengths = {name: n for (kind, name), n in messages.items() if kind == "length"}
    topics = {name: messages["topics", name] for name in TOPICS if messages["topics", name]}
    most = max(style.values())
    best = [name for name, n in style.items() if n == most >= 2]
    longest = [name for name, n in lengths.items() if n == max(lengths.values())]
    return Learned(
        style=best[0] if len(best) == 1 else "undecided",
        length="undecided" if not lengths else longest[0] if len(longest) == 1 else "medium",
        topics=tuple(sorted(topics, key=lambda name: (-topics[name], -_all(words, name), name))),
        turns=turns,
    )


def _all(words: Counter[tuple[Any, str, str]], name: str) -> int:
    return sum(n for (_, of, _), n in words.items() if of == name)


STYLE = {
    "formal": ["please", "thank you", "appreciate", "kindly"],
    "casual": ["hey", "thanks", "cool", "awesome"],
}
TOPICS = {
    "login": ["password", "login"],
    "billing": ["payment", "invoice"],
    "technical": ["error"],
    "account": ["profile"],
}


def shown(learned: Learned) -> tuple[Any, ...]:
    return learned.style, learned.length, learned.topics, learned.turns


def _small(monkeypatch: pytest.MonkeyPatch, dice: Random) -> None:
    monkeypatch.setattr(learning, "TOGETHER", 2)
    monkeypatch.setattr(learning, "LARGEST", dice.choice([60, 150, 2_048]))
    monkeypatch.setattr(learning, "FEW", dice.choice([1, 3]))
    monkeypatch.setattr(learning, "_PAGE", 3)
    monkeypatch.setattr("onrecord.flows.feed.reading.MESSAGES", dice.choice([3, 1_000]))


def history(store: Store, dice: Random, steps: int) -> None:
    ada, hers = Preferences(store, "ada"), Preferences(store, "ada", agent="x")
    workers = [Worker(work._read) for work in (ada, ada, hers)]
    lived(store, dice, steps, workers)
    for _ in range(2):
        assert shown(ada.read()) == shown(expected(store, tenant="", user="ada"))
        assert shown(hers.read()) == shown(expected(store, tenant="", user="ada", agent="x"))
        learned = ada.read()
        leases_end(store)
        ada.forget()
        assert ada.read() == learned


@pytest.mark.parametrize("seed", range(max(1, int(40 * SEEDS))))
def test_histories(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = Random(seed)
    _small(monkeypatch, dice)
    with Store("sqlite://") as store:
        history(store, dice, 100)


@pytest.mark.parametrize("seed", range(max(1, int(3 * SEEDS))))
def test_histories_on_each_store(
    seed: int, each_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = Random(1_000 + seed)
    _small(monkeypatch, dice)
    history(each_store(), dice, 80)


def test_two_processes_at_once_and_one_that_is_killed(each_store: OpenStore) -> None:
    with each_store() as store:
        url = store._ledger.address.url.render_as_string(hide_password=False)
        cache = store._hot.where
        says(store, "please")

    def die() -> None:
        with Store(url, cache=cache) as store:
            worker = Worker(Preferences(store, "ada")._read)
            worker.step()
            while worker._call.method.__name__ != "done":
                worker.step()
            os.kill(os.getpid(), signal.SIGKILL)

    child = Child(die)
    os.waitpid(child.pid, 0)

    def work(number: int, meet: Callable[[], object]) -> None:
        with Store(url, cache=cache) as store:
            meet()
            for n in range(8):
                says(store, "please, the invoice", key=f"{number}.{n % 3}")
                Preferences(store, "ada").read()

    together(work)
    with each_store() as store:
        leases_end(store)
        learned = Preferences(store, "ada").read()
        assert learned.turns == 17
        assert _there(learned.of("formal")).words == {"please": 17}


def test_a_notebook_shows_what_was_learned_and_why() -> None:
    why = Evidence("topics", "<b>billing</b>", 2, {"invoice": 3})
    page = Learned("formal", "brief", ("<b>billing</b>",), 4, (why,))._repr_html_()
    assert "<bdi>formal</bdi>" in page
    assert "<bdi>&lt;b&gt;billing&lt;/b&gt;: invoice (3)</bdi>" in page
    assert "<b>" not in page
