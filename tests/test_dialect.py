"""Statements are templates; what cannot be understood in one is refused, and not guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.dialect import Dialect


@pytest.mark.parametrize(
    ("template", "sqlite", "postgres"),
    [
        (
            "SELECT 1 FROM {tail} WHERE id = :id",
            "SELECT 1 FROM onrecord_tail WHERE id = :id",
            'SELECT 1 FROM "a ""b""".onrecord_tail WHERE id = %(id)s',
        ),
        (
            "SELECT id FROM {sessions} s WHERE {s.my_shard} s.identity = :identity {for_update}",
            "SELECT id FROM onrecord_sessions s WHERE  s.identity = :identity ",
            'SELECT id FROM "a ""b""".onrecord_sessions s WHERE s.shard = %(shard)s AND '
            "s.identity = %(identity)s FOR UPDATE",
        ),
        (
            "DELETE FROM {tail} WHERE {at}",
            "DELETE FROM onrecord_tail WHERE place = (:session << 32) + :seq",
            'DELETE FROM "a ""b""".onrecord_tail WHERE shard = %(shard)s AND '
            "session = %(session)s AND seq = %(seq)s",
        ),
        (
            "FROM {sessions} s JOIN {tail} t ON {t.of s} ORDER BY {t.order}",
            "FROM onrecord_sessions s JOIN onrecord_tail t ON t.place > (s.id << 32) AND "
            "t.place <= (s.id << 32) + 4294967295 ORDER BY t.place",
            'FROM "a ""b""".onrecord_sessions s JOIN "a ""b""".onrecord_tail t ON '
            "t.shard = s.shard AND t.session = s.id ORDER BY t.seq",
        ),
        # What is quoted is what it is: no parameter, and no word.
        (
            "SELECT '12:30', '{tail} it''s', \"a:b\" -- :no {word}",
            "SELECT '12:30', '{tail} it''s', \"a:b\" -- :no {word}",
            "SELECT '12:30', '{tail} it''s', \"a:b\" -- :no {word}",
        ),
        ("SELECT 7 % 2, 'a%b'", "SELECT 7 % 2, 'a%b'", "SELECT 7 %% 2, 'a%%b'"),
        ("SELECT 2 - 1, -:n", "SELECT 2 - 1, -:n", "SELECT 2 - 1, -%(n)s"),
    ],
)
def test_templates(template: str, sqlite: str, postgres: str) -> None:
    assert Dialect("sqlite").render(template) == sqlite
    assert Dialect("postgresql", 'a "b"').render(template) == postgres


@pytest.mark.parametrize(
    "template",
    [
        "SELECT x::bigint FROM {tail}",
        "SELECT * FROM {tails}",
        "SELECT * FROM {x.tail}",
        "SELECT {}",
        "SELECT {tail",
        "SELECT tail}",
        "SELECT 'open",
        'SELECT "open',
        "SELECT :1",
        "SELECT a : b",
    ],
)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_cannot_be_understood_is_refused(kind: Kind, template: str) -> None:
    with pytest.raises(AssertionError, match="in: SELECT"):
        Dialect(kind).render(template)


@given(st.text(alphabet="ab '\"{}:%-\n1.,()", max_size=30))
def test_nothing_is_changed_or_lost_that_was_not_asked_for(text: str) -> None:
    dialect = Dialect("sqlite")
    try:
        rendered = dialect.render(text)
    except AssertionError:
        return
    assert rendered == text  # SQLite takes :name as it is, and there is no word of these letters
