"""A database URL is read as SQLAlchemy reads it."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
import sqlalchemy
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from onrecord.ledger.database.url import url_of

OLD = sqlalchemy.__version__ < "2.1"

_TEXT = st.text("ab1@:/?&=%+#[]. é", max_size=8)


def theirs_of(text: str) -> sqlalchemy.URL:
    """What SQLAlchemy reads; before 2.1 it left the % of a path as they are."""
    found = make_url(text)
    return found.set(database=unquote(found.database)) if OLD and found.database else found


def parts(found: Any) -> tuple[Any, ...]:
    return (
        *(found.drivername, found.username, found.password, found.host, found.port),
        *(found.database, dict(found.query)),
    )


@example("sqlite", ["[1]1"])
@given(
    st.sampled_from(["sqlite", "postgresql+psycopg", "x_1", ""]),
    st.lists(st.one_of(st.sampled_from(["@", ":", "/", "?", "u", "5432", "h"]), _TEXT), max_size=9),
)
def test_as_sqlalchemy_does(scheme: str, rest: list[str]) -> None:
    text = f"{scheme}://{''.join(rest)}"
    try:
        theirs = theirs_of(text)
    except (ArgumentError, ValueError):
        with pytest.raises(ValueError, match=r"\w"):
            url_of(text)
        return
    try:
        ours = url_of(text)
    except ValueError:
        # Theirs passes over what it does not understand: a part of a password may be lost there.
        assert theirs.render_as_string(hide_password=False) != text
        return
    assert parts(ours) == parts(theirs)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ana:p%40ss@host:5432/db?sslmode=require&host=a&host=b",
        "postgresql://ana@[::1]:5432/db",
        "postgresql:///db?host=/var/run",
        "sqlite:////tmp/a b%23.db",
        "sqlite://",
        "sqlite:///file:x?mode=memory&uri=true",
    ],
)
def test_it_is_written_as_sqlalchemy_does(text: str) -> None:
    ours, theirs = url_of(text), theirs_of(text)
    assert parts(ours) == parts(theirs)
    for hide in (True, False) if not OLD else ():
        assert ours.render_as_string(hide) == theirs.render_as_string(hide)
