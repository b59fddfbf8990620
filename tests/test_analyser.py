"""The analyser: what a person would type finds what was written, in many languages."""

# ruff: noqa: RUF001
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord.ranking import Query, Said, signature
from onrecord.ranking.days import terms_of_day, terms_of_days
from onrecord.ranking.hashing import hashed
from onrecord.ranking.stemmer import stem
from onrecord.ranking.words import MOST_CHARACTERS, MOST_TERMS, folded, terms, terms_of, words

DAY = 86_400_000_000


def said(text: str, *, seq: int = 1, speaker: str = "", created: int = 0) -> Said:
    return Said(1, seq, created, "user", speaker, text)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("caresses", "caress"),
        ("flies", "fli"),
        ("dies", "die"),
        ("gas", "gas"),
        ("agreed", "agre"),
        ("plastered", "plaster"),
        ("sing", "sing"),
        ("hopping", "hop"),
        ("hoping", "hope"),
        ("falling", "fall"),
        ("luxuriated", "luxuri"),
        ("happy", "happi"),
        ("say", "say"),
        ("relational", "relat"),
        ("conditional", "condit"),
        ("digitizer", "digit"),
        ("operator", "oper"),
        ("decisiveness", "decis"),
        ("hopefulness", "hope"),
        ("formality", "formal"),
        ("triplicate", "triplic"),
        ("electrical", "electr"),
        ("revival", "reviv"),
        ("adjustment", "adjust"),
        ("adoption", "adopt"),
        ("generously", "generous"),
        ("communism", "communism"),
        ("skies", "sky"),
        ("inning", "inning"),
        ("lying", "lie"),
        ("internal", "internal"),
        ("biologist", "biolog"),
        ("yoga", "yoga"),
        ("ox", "ox"),
    ],
)
def test_english_is_stemmed_by_the_published_rules(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("went", "We go there"),
        ("child", "My children sleep"),
        ("adopt", "She is adopting a cat"),
        ("cafe", "Wir saßen im Café"),
        ("strasse", "Die Straße ist lang"),
        ("STRASSE", "Die Straße ist lang"),
        ("Versicherung", "die Kranken-Versicherung zahlt"),
        ("Krankenversicherung", "die Kranken-Versicherung zahlt"),
        ("ısparta", "ISPARTA güzel"),
        ("isparta", "Isparta güzel"),
        ("istanbul", "İSTANBUL'da yaşıyorum"),
        ("isik", "ışık söndü"),
        ("猫", "黒猫が好きです"),
        ("黒猫", "この黒猫が好き"),
        ("カタカナ", "ｶﾀｶﾅで書く"),
        ("北京", "我住在北京市"),
        ("물", "찬 물을 마셨다"),
        ("안녕", "안녕하세요"),
        ("ภาษา", "เรียนภาษาไทย"),
        ("كتاب", "قرأت الكتاب أمس"),
        ("الكتاب", "عندي كتاب"),
        ("احمد", "جاء أحمد"),
        ("हिन्दी", "मैं हिन्दी बोलता हूँ"),
        ("ещё", "еще раз"),
        ("A-1017", "order a-1017 shipped"),
        ("A1017", "order A-1017 shipped"),
        ("1017", "order A-1017 shipped"),
        ("foo_bar.baz", "calls foo_bar.baz(1)"),
        ("baz", "calls foo_bar.baz(1)"),
        ("user", "getUserName fails"),
        ("anna.smith@example.com", "write to anna.smith@example.com!"),
        ("smith", "write to anna.smith@example.com!"),
        ("example.com", "write to anna.smith@example.com!"),
        ("email", "sent by e-mail"),
        ("3.5", "version 3.5 is out"),
        ("🎉", "we won 🎉🎉"),
        ("👍", "fine 👍🏽"),
        ("🇩🇪", "from 🇩🇪 with love"),
        ("eau", "l’eau est froide"),
        ("Anna", "Anna's book"),
    ],
)
def test_what_a_person_types_finds_what_was_written(typed: str, written: str) -> None:
    looked_for = {term.term for term in Query.of(typed).terms}
    assert looked_for & set(terms(written))


@pytest.mark.parametrize(
    ("typed", "written"),
    [("3.5", "about 35 of them"), ("猫", "犬が好き"), ("cat", "category"), ("北京", "东京")],
)
def test_what_is_another_word_is_not_found(typed: str, written: str) -> None:
    looked_for = {term.term for term in Query.of(typed).terms}
    assert looked_for
    assert not looked_for & set(terms(written))


def test_common_words_are_no_terms() -> None:
    assert terms("Don't you have what they've got? I'm to be.") == []


def test_a_signature_is_sorted_and_distinct() -> None:
    signed = signature([said("zebra apple mango zebra", speaker="Ana"), said("apple", seq=2)])
    numbers = [int.from_bytes(signed[at : at + 2], "little") for at in range(0, len(signed), 2)]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 3 + 1 + 4  # words, a name, the day's terms
    assert int.from_bytes(hashed("zebra"), "little") in numbers


def test_a_key_changes_every_hash() -> None:
    plain, keyed = signature([said("zebra")]), signature([said("zebra")], b"secret")
    assert plain != keyed
    assert signature([said("zebra")], b"secret") == keyed


def test_the_signature_is_that_of_this_version() -> None:
    """Whoever changes this on purpose moves ``ANALYSER``: stored signatures are made anew by it."""
    signed = signature(
        [said("Das Café, 黒猫 and foo_bar: children went 🎉", speaker="Ana", created=19_000 * DAY)]
    )
    assert signed.hex() == ("1724dd334950306adc6cb171de860f8e89971d9880a763be10c0becf5fdfb7e4")


def test_days_are_found_by_how_they_are_named() -> None:
    held = set(terms_of_day(19_488))  # 2023-05-11
    for named in ("on 11 May 2023", "May 11th", "in May", "2023-05-11", "in 2023", "5/2023 2023-5"):
        assert held & set(terms_of_days(named)), named
    for named in ("in June 2023", "2022-05", "you may go", "the march of 40", "at 20:23"):
        assert not held & set(terms_of_days(named)), named


@given(st.text())
def test_any_text_has_terms_within_bounds(text: str) -> None:
    found = terms(text)
    assert found == terms(text)
    assert len(set(found)) <= MOST_TERMS
    assert all(terms_of(word) == terms_of(word) for word in words(text))


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_a_folded_word_is_found_by_itself(text: str) -> None:
    for word in words(text):
        if terms_of(word):
            assert set(terms_of(word)) & set(terms_of(folded(word))), word


def test_endless_text_ends() -> None:
    long = " ".join(f"word{number}" for number in range(50_000))
    assert len(set(terms(long))) == MOST_TERMS
    assert terms("x" * 1_000_000) == ["x" * 64]
    assert words("a " * MOST_CHARACTERS) == ["a"] * (MOST_CHARACTERS // 2)


@given(st.permutations([said("apple pie", seq=1), said("blue sky", seq=2), said("cats", seq=3)]))
def test_a_signature_does_not_depend_on_order(messages: list[Said]) -> None:
    assert signature(messages) == signature(sorted(messages))
