"""The ranking is a function of messages and a query, and of nothing else."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onrecord.ranking import (
    NEIGHBOURS,
    RELEVANT,
    RUN,
    Chosen,
    Meanings,
    Query,
    Run,
    Said,
    Scored,
    choose,
    score,
    signature,
)
from onrecord.ranking.choosing import rarity
from onrecord.ranking.parts import A_TIER, PARTS

DAY = 86_400_000_000
TALK = [
    "Hey, how have you been?",
    "Busy! My kids started school last week.",
    "How do they like it?",
    "They love the pottery class, and the violin most of all.",
    "I adopted a dog named Pixel from the shelter in May.",
    "What colour is the collar?",
    "A red one. He sleeps in the kitchen beside the oven.",
    "We went hiking near the lake with the neighbours.",
]


def talk(session: int = 1, texts: list[str] | None = None) -> list[Said]:
    return [
        Said(session, seq, seq * DAY, "user", ("Ana", "Ben")[seq % 2], text)
        for seq, text in enumerate(texts or TALK, 1)
    ]


def runs_of(messages: list[Said]) -> list[Run]:
    places: dict[tuple[int, int], list[Said]] = {}
    for each in messages:
        places.setdefault((each.session, (each.seq - 1) // RUN), []).append(each)
    return [Run(*place, signature(each)) for place, each in places.items()]


def asked(
    text: str,
    messages: list[Said],
    meanings: Meanings | None = None,
    *,
    by_tiers: bool = False,
) -> list[Scored]:
    query = Query.of(text)
    chosen = choose(query, runs_of(messages), meanings)
    if not by_tiers:
        return score(query, chosen, messages, meanings)
    found: list[Scored] = []
    for tier in chosen.tiers:
        beside = range(-NEIGHBOURS, RUN + NEIGHBOURS)
        read = {(run.session, run.number * RUN + 1 + at) for run in tier for at in beside}
        said = [each for each in messages if (each.session, each.seq) in read]
        found += score(query, chosen, said, meanings, tier=tier)
    return found


def best(text: str, messages: list[Said]) -> set[str]:
    found = {each.seq for each in asked(text, messages)[:2]}
    return {each.text for each in messages if each.seq in found}


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("When did Ben adopt the puppy?", "I adopted a dog named Pixel from the shelter in May."),
        ("Where does the dog sleep?", "A red one. He sleeps in the kitchen beside the oven."),
        ("Which instrument do the children play?", TALK[3]),
        ("hikes", TALK[7]),
        ("colour of the collar", TALK[6]),  # it shares a word only with the question before it
    ],
)
def test_the_right_message_is_among_the_first(question: str, answer: str) -> None:
    assert answer in best(question, talk())


def test_answers_are_relevant_and_what_never_came_up_is_not() -> None:
    assert asked("When did Ben adopt the puppy?", talk())[0].score >= RELEVANT
    for question in ("Which visa did Ana get at the embassy?", "the server's staging password"):
        assert all(each.score < RELEVANT for each in asked(question, talk()))


@pytest.mark.parametrize(
    "text", ["", "   ", "?!", "what is it to be or not to be", '""', "-", "-dog"]
)
def test_nothing_to_look_for_is_empty(text: str) -> None:
    query = Query.of(text)
    assert query.empty
    assert choose(query, runs_of(talk())).tiers == []


@pytest.mark.parametrize(
    "text",
    ["' OR 1=1 --", 'a"b', "100%", "NEAR(dog, 3)", "dog*", "col:dog", "\x00dog\ud800", "{}[]()"],
)
def test_no_sign_is_an_operator(text: str) -> None:
    asked(text, talk())


def test_an_endless_query_is_read_up_to_a_bound() -> None:
    query = Query.of(" ".join(f"word{number}" for number in range(100_000)))
    assert len(query.terms) <= 48
    assert Query.of("dog " * 100_000).terms == Query.of("dog").terms


def test_phrases_have_to_be_there_and_excluded_words_must_not() -> None:
    messages = talk(texts=["red dog runs", "dog red runs", "RED   Dog sleeps", "the dog red-dog"])
    assert {each.seq for each in asked('"red dog"', messages)} == {1, 3}
    assert {each.seq for each in asked('"red dog" -sleeps', messages)} == {1}
    assert {each.seq for each in asked('dog -"red dog"', messages)} == {2, 4}
    assert {each.seq for each in asked("dog -red-dog", messages)} == {1, 2, 3}
    assert {each.seq for each in asked('"黒猫"', talk(texts=["この黒猫が", "黒い猫"]))} == {1}


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("Krankenversicherung", "Die Kranken Versicherung hat bezahlt"),
        ("Kranken Versicherung", "Die Krankenversicherung hat bezahlt"),
        ("roadtrip", "We planned the road trip"),
        ("road trip", "We planned the roadtrip"),
    ],
)
def test_compounds_are_found_by_their_parts_and_parts_by_the_whole(
    typed: str, written: str
) -> None:
    messages = talk(texts=[written, "a", "b", "c", "d", "e", "Die Versicherung road of Anna"])
    found = asked(typed, messages)
    assert found[0].seq == 1
    assert found[0].score >= RELEVANT


def test_a_day_finds_what_was_said_on_it() -> None:
    messages = [each._replace(created=19_488 * DAY) for each in talk(1)]  # 11 May 2023
    messages += talk(2)
    found = asked("what did we talk about on 11 May 2023", messages)
    assert {each.session for each in found[: len(TALK)]} == {1}


def test_a_query_of_nothing_but_a_day_finds_it_beside_the_word() -> None:
    messages = [each._replace(created=19_519 * DAY) for each in talk(1)]  # 11 June 2023
    messages += talk(2, ["See you in June"])
    assert {each.session for each in asked("June", messages)} >= {1}


def test_who_is_named_comes_first() -> None:
    messages = talk(texts=["I like tea", "I like tea"])
    assert asked("Does Ana like tea?", messages)[0].seq == 2
    assert asked("Does Ben like tea?", messages)[0].seq == 1


def test_equals_are_ordered_from_the_newest() -> None:
    same = [Said(session, 1, 5, "user", "", "a blue whale") for session in (3, 1, 2)]
    assert [each.session for each in asked("whale", same)] == [1, 2, 3]
    newer = same[1]._replace(session=9, created=6)
    assert asked("whale", [*same, newer])[0].session == 9


def long_talk(seed: int, sessions: int = 30, most: int = 40) -> list[Said]:
    chance = random.Random(seed)
    vocabulary = [
        f"{start}{end}" for start in "bdfgklmnprst" for end in ("ana", "elo", "iru", "opi")
    ]
    return [
        Said(
            session,
            seq,
            session * DAY + seq,
            "user",
            chance.choice(("Ana", "Ben", "")),
            " ".join(chance.choices(vocabulary, k=chance.randint(1, 12))) + chance.choice(".?"),
        )
        for session in range(sessions)
        for seq in range(1, chance.randint(2, most))
    ]


@pytest.mark.parametrize("seed", range(5))
def test_tiers_answer_exactly_as_everything_at_once(seed: int) -> None:
    messages = long_talk(seed)
    near = Meanings.of({(each.session, each.seq): (each.seq * 7 % 11) / 11 for each in messages})
    for meanings in (None, near):
        for text in ("bana delo Ana", '"firu"', "When did Ben see kopi -lana?", "bana"):
            whole = asked(text, messages, meanings)
            tiers = asked(text, messages, meanings, by_tiers=True)
            assert sorted(tiers) == sorted(whole)
            assert whole


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_order_in_which_things_come_changes_nothing(chance: random.Random, seed: int) -> None:
    messages = long_talk(seed, sessions=8)
    query = Query.of("bana Ana delo firu?")
    runs = runs_of(messages)
    similar = {(each.session, each.seq): each.seq % 5 / 7 for each in messages}
    before = choose(query, runs, Meanings.of(similar))
    answers = score(query, before, messages, Meanings.of(similar))
    for things in (messages, runs):
        chance.shuffle(things)
    mixed = list(similar.items())
    chance.shuffle(mixed)
    after = choose(query, runs, Meanings.of(dict(mixed)))
    assert after == before
    assert score(query, after, messages, Meanings.of(dict(mixed))) == answers


def test_what_others_say_changes_nothing() -> None:
    """Statistics are those of the runs given, and what a process remembers is no statistic."""
    messages = long_talk(4, sessions=8)
    text = "bana Ana delo firu?"
    before = asked(text, messages)
    others = [each._replace(session=1000, text=f"bana planted{each.seq}") for each in messages]
    assert asked(text, others)
    assert asked(text, messages) == before


def test_other_processes_answer_the_same() -> None:
    program = (
        "from tests.test_ranking import asked, long_talk, Meanings\n"
        "print(asked('bana kids delo mother Ana firu', long_talk(1, sessions=6)))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1
    assert "Scored" in answers.pop()


def test_only_runs_that_hold_something_are_read_the_best_first() -> None:
    messages = long_talk(2) + talk(99)
    chosen = choose(Query.of("adopted Pixel shelter"), runs_of(messages))
    assert [(run.session, run.number) for tier in chosen.tiers for run in tier] == [(99, 0)]
    many = choose(Query.of("bana delo"), runs_of(messages))
    assert all(len(tier) == A_TIER for tier in many.tiers[:-1])


def test_halves_of_two_hashes_are_not_a_hash() -> None:
    query = Query.of("whale")
    wanted = query.terms[0].hash
    split = Run(1, 0, b"\x00" + wanted + b"\x00")
    assert choose(query, [split]).tiers == []
    assert choose(query, [split, Run(2, 0, b"\x00\x00" + wanted)]).tiers[0][0].session == 2


def test_a_damaged_signature_is_no_error() -> None:
    query = Query.of("whale")
    runs = [Run(1, 0, query.terms[0].hash + b"\x01"), Run(2, 0, query.terms[0].hash)]
    assert {run.session for tier in choose(query, runs).tiers for run in tier} == {1, 2}


def test_rarer_words_weigh_more() -> None:
    weights = [rarity(holding, 50) for holding in range(51)]
    assert weights == sorted(weights, reverse=True)
    assert all(weight > 0 for weight in weights)
    assert rarity(0, 0) > 0


def test_only_messages_of_the_tier_are_answered() -> None:
    messages = talk(texts=["the whale sings"] * (RUN * 2))
    query = Query.of("whale")
    chosen = choose(query, runs_of(messages))
    second = next(run for tier in chosen.tiers for run in tier if run.number == 1)
    found = score(query, chosen, messages[RUN - NEIGHBOURS :], tier=[second])
    assert {each.seq for each in found} == set(range(RUN + 1, 2 * RUN + 1))


def test_meaning_finds_what_words_do_not() -> None:
    messages = talk()
    similar = {(each.session, each.seq): 0.1 for each in messages} | {(1, 5): 0.8}
    found = asked("canine companion", messages, Meanings.of(similar))
    assert found[0].seq == 5
    assert asked("canine companion", messages) == []


def test_meanings_without_a_difference_say_nothing() -> None:
    assert Meanings.of({}).nearness == {}
    same = Meanings.of({(1, 1): 0.5, (1, 2): 0.5})
    assert set(same.nearness.values()) == {0.0}
    assert Meanings.of({(1, 1): 1.0}).best == 0.0


def test_scores_are_comparable() -> None:
    for text in ("When did Ben adopt the dog?", "kids pottery violin class"):
        scores = [each.score for each in asked(text, talk())]
        assert scores == sorted(scores, reverse=True)
        assert all(0 < each < 1.5 for each in scores)


def test_every_part_counts() -> None:
    """A part whose weight is taken away changes a score."""
    messages = [each._replace(created=19_488 * DAY + each.seq) for each in talk()]
    text = "When did Ana tell of the dog and the collar in May 2023?"
    similar = {(each.session, each.seq): each.seq / 10 for each in messages}
    meanings = Meanings.of(similar)
    query, runs = Query.of(text), runs_of([*messages, *long_talk(3, sessions=3)])

    def scored(chosen: Chosen) -> list[Scored]:
        return score(query, chosen, messages, meanings)

    every = scored(choose(query, runs, meanings))
    for part in PARTS._fields:
        without = PARTS._replace(**{part: 1.0 if part == "days_as_words" else 0.0})
        assert scored(choose(query, runs, meanings, parts=without)) != every, part
