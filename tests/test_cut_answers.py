"""What becomes of a change to which PostgreSQL, or who stands before it, gives half an answer, two
answers, or none that can be read."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from sqlalchemy.engine import make_url

from onrecord import Session, Store, Unavailable
from tests.servers.postgres import PostgresServer
from tests.torture.line import Line

_keys = itertools.count()


def said(code: str, text: str) -> bytes:
    """A server's last words: their kind, their length, and fields that end with a zero each."""
    fields = f"SFATAL\0VFATAL\0C{code}\0M{text}\0\0".encode()
    return b"E" + struct.pack("!I", len(fields) + 4) + fields


CRASHED: Final = said("08P01", "server conn crashed?")
"""What PgBouncer says of its server."""
ENDED: Final = said("57P02", "terminating connection because of crash of another server process")

CUT: Final[dict[str, Callable[[bytes], bytes]]] = {
    "nothing": lambda _: b"",
    "half": lambda answer: answer[:3],
    "done, and no more": lambda answer: answer,
    "done, and a pooler's server crashed": lambda answer: answer + CRASHED,
    "a pooler's server crashed": lambda _: CRASHED,
    "ended": lambda _: ENDED,
    "ended, and said twice": lambda _: ENDED + CRASHED,
    "what is no answer": lambda _: b"Q\0\0\0\5x",
    "done, and what is no answer": lambda answer: answer + b"!\0\0\0\5x",
}
"""What comes in the place of the answer, before the connection ends."""


class CutLine(Line):
    """Puts something else in the place of the next answer that says what was done, and ends."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._how: Callable[[bytes], bytes] | None = None
        self._of = b""

    @contextlib.contextmanager
    def cut_next(self, how: str, of: bytes = b"") -> Iterator[None]:
        """Do so with the next answer that begins with that."""
        self._of, self._how = of, CUT[how]
        yield
        assert self._how is None, "no such answer came"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(5)
                body = await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)
                how = self._how
                if how is not None and head[:1] == b"C" and body.startswith(self._of):
                    self._how = None
                    writer.write(how(head + body))
                    await writer.drain()
                    writer.close()
                    return
                writer.write(head + body)
        writer.transport.abort()


@pytest.fixture(scope="module")
def line(postgres: PostgresServer) -> Iterator[CutLine]:
    port = make_url(postgres.url).port
    assert port is not None
    with contextlib.closing(CutLine(port)) as found:
        yield found


@pytest.fixture(scope="module")
def store(postgres: PostgresServer, line: CutLine) -> Iterator[Store]:
    plain = {"sslmode": "disable", "gssencmode": "disable"}  # else it asks first, for one byte
    with postgres.database("cut_answers") as url:
        real = make_url(url).set(port=line.port, query=plain)
        with Store(real.render_as_string(hide_password=False)) as found:
            yield found


@pytest.fixture
def session(store: Store) -> Session:
    session = store.session(f"{next(_keys)}")
    session.append([("user", "a"), ("user", "b")])
    return session


@pytest.mark.parametrize("how", CUT)
def test_a_commit_of_half_an_answer_is_said_to_be_unknown(
    line: CutLine, session: Session, how: str
) -> None:
    with line.cut_next(how, of=b"COMMIT"), unknown():
        session.edit(1, ("user", "changed"))
    # In truth it was: the server had committed before it answered.
    assert [message.text for message in session.messages()] == ["changed", "b"]
    session.edit(1, ("user", "changed again"))
    assert session.messages()[0].text == "changed again"


@pytest.mark.parametrize("given", [("user", "new"), [("user", "new"), ("user", "newer")]])
@pytest.mark.parametrize("how", CUT)
def test_an_append_of_half_an_answer_is_there_once(
    line: CutLine, session: Session, how: str, given: Any
) -> None:
    with line.cut_next(how):
        told = session.append(given)
    texts = ["a", "b", *(message.text for message in told)]
    assert texts[2:] == ["new", "newer"][: len(told)]
    assert [message.text for message in session.messages()] == texts


@pytest.mark.parametrize("how", CUT)
def test_a_read_of_half_an_answer_is_read_again(line: CutLine, session: Session, how: str) -> None:
    with line.cut_next(how):
        assert [message.text for message in session.messages()] == ["a", "b"]


@pytest.mark.parametrize("how", CUT)
def test_a_put_of_half_an_answer_is_said_to_be_unknown(
    line: CutLine, store: Store, how: str
) -> None:
    items = store.items("facts", how)
    items.put("a", {"n": 1})
    with line.cut_next(how), unknown():
        items.put("a", {"n": 2})
    found = items.get("a")
    assert found is not None
    assert found.value == {"n": 2}
    items.put("a", {"n": 3}, expected=found.version)


@contextlib.contextmanager
def unknown() -> Iterator[None]:
    with pytest.raises(Unavailable, match="Whether it was written is not known") as caught:
        yield
    assert caught.value.outcome_unknown
