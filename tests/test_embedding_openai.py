"""Embeddings over HTTP, of a server on this machine that answers what a test wants."""

import asyncio
import contextlib
import copy
import json
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from onrecord import EmbedderFailed, Misconfigured
from onrecord.embedding import OpenAICompatible, embedder_of
from onrecord.embedding.bits import packed, packed_query
from onrecord.embedding.known import BATCH

KEY = "sk-SECRET-0123456789"


class Asked(NamedTuple):
    """A request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Reply(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody writes to it


def vector(text: str) -> list[float]:
    return [text.count(letter) - 0.5 for letter in "abcdefgh"]


def answered(asked: Asked) -> Reply:
    """What OpenAI answers, but for the order, which is not promised."""
    rows = [{"index": n, "embedding": vector(t)} for n, t in enumerate(asked.body["input"])]
    return Reply(200, {"object": "list", "data": rows[::-1], "model": asked.body["model"]})


class Server:
    """A server whose next answers can be set; without any it embeds."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.next: list[Reply | Callable[[Asked], Reply]] = []
        mine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = Asked(
                    self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body
                )
                mine.asked.append(asked)
                reply = mine.next.pop(0) if mine.next else answered
                if callable(reply) and not isinstance(reply, Reply):
                    reply = reply(asked)
                said = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body)
                content = said if isinstance(said, bytes) else said.encode()
                self.send_response(reply.status)
                for name, value in {"Content-Length": f"{len(content)}", **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def started() -> Iterator[Server]:
    with contextlib.closing(Server()) as server, pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        yield server


@pytest.fixture
def server(started: Server) -> Server:
    started.asked.clear()
    started.next.clear()
    return started


AT_ONCE = {"Retry-After": "0"}


def test_a_batch_is_one_request(server: Server) -> None:
    made = embedder_of(OpenAICompatible(server.url, "small", KEY))
    assert made is not None
    assert made.name == "small"
    texts = [f"abc{n}" for n in range(BATCH + 1)]
    assert made.embed(texts) == [packed(vector(text)) for text in texts]
    assert made.dimensions == 8
    first, second = server.asked
    assert (first.method, first.path) == ("POST", "/v1/embeddings")
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert first.headers["content-type"] == "application/json"
    assert sorted(first.body) == ["input", "model"]
    assert sorted(first.body["input"] + second.body["input"]) == sorted(texts)


def test_it_is_asked_on_a_loop_too(server: Server) -> None:
    made = embedder_of(OpenAICompatible(server.url, "small"))
    assert made is not None
    assert asyncio.run(made.aembed_query("abc")) == packed_query(vector("abc"))
    assert "authorization" not in server.asked[0].headers


def test_dimensions_and_headers_are_sent(server: Server) -> None:
    made = OpenAICompatible(
        f"{server.url}/embeddings?api-version=1", "m", dimensions=8, headers={"api-key": KEY}
    )
    assert made.embed(["a"]) == [vector("a")]
    assert server.asked[0].path == "/v1/embeddings?api-version=1"
    assert server.asked[0].body["dimensions"] == 8
    assert server.asked[0].headers["api-key"] == KEY


def test_strange_texts_arrive(server: Server) -> None:
    OpenAICompatible(server.url, "m").embed(["\0", "é🦊", '"\n'])
    assert server.asked[0].body["input"] == ["\0", "é🦊", '"\n']


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_what_may_be_otherwise_a_moment_later_is_asked_again(server: Server, status: int) -> None:
    server.next = [Reply(status, {}, AT_ONCE), Reply(status, b"<html>", AT_ONCE)]
    assert OpenAICompatible(server.url, "m").embed(["a"]) == [vector("a")]
    assert len(server.asked) == 3


def test_it_is_asked_three_times_and_no_more(server: Server) -> None:
    server.next = [Reply(503, {"error": {"message": "busy"}}, AT_ONCE)] * 9
    with pytest.raises(EmbedderFailed, match=r"for m: 503 busy \(asked 3 times\)"):
        OpenAICompatible(server.url, "m").embed(["a"])
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404])
def test_what_stays_so_is_not_asked_again(server: Server, status: int) -> None:
    server.next = [Reply(status, {"error": "no"}, {"Location": f"{server.url}/other"})]
    with pytest.raises(EmbedderFailed, match=f"{status} no$"):
        OpenAICompatible(server.url, "m", KEY).embed(["a" * 2_000])
    assert len(server.asked) == 1  # and nobody else was told the key


def test_a_wait_longer_than_there_is_time_is_not_waited(server: Server) -> None:
    server.next = [Reply(429, {"error": "later"}, {"Retry-After": "3600"})]
    with pytest.raises(EmbedderFailed, match=r"429 later$"):
        OpenAICompatible(server.url, "m").embed(["a"])
    assert len(server.asked) == 1


def test_nobody_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    made = OpenAICompatible(f"http://127.0.0.1:{port}", "m", KEY, timeout=0.2)
    with pytest.raises(EmbedderFailed, match=f"127.0.0.1:{port}/embeddings answered .*: nothing"):
        made.embed(["a"])


def test_a_server_that_is_silent_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        made = OpenAICompatible(f"http://127.0.0.1:{silent.getsockname()[1]}", "m", timeout=0.1)
        with pytest.raises(EmbedderFailed, match=r"nothing. .*timed out"):
            made.embed(["a"])


def test_an_answer_that_is_cut_off_is_none(server: Server) -> None:
    cut = Reply(200, {"data": []}, {"Content-Length": "999", "Connection": "close"})
    server.next = [cut]
    with pytest.raises(EmbedderFailed, match="IncompleteRead"):
        OpenAICompatible(server.url, "m", timeout=0.2).embed(["a"])


def test_a_text_that_is_too_long_is_cut_until_it_is_not(server: Server) -> None:
    def strict(asked: Asked) -> Reply:
        longest = max(map(len, asked.body["input"]))
        if longest > 2_000:
            server.next = [strict]
            return Reply(400, {"error": {"message": "maximum context length is 2000 tokens"}})
        return answered(asked)

    server.next = [strict]
    made = OpenAICompatible(server.url, "m")
    assert made.embed(["a" * 8_000, "b"]) == [vector("a" * 2_000), vector("b")]
    assert len(server.asked) == 3
    server.next = [Reply(413, b"")] * 9
    with pytest.raises(EmbedderFailed, match=r"413$"):
        made.embed(["a" * 8_000])
    assert len(server.asked) == 3 + 5


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[" * 100_000,
        [],
        {"data": None},
        {"data": []},
        {"data": [{"index": 1, "embedding": [1.0]}]},
        {"data": [{"embedding": [1.0]}]},
        {"data": ["x"]},
        {"data": [{"index": [], "embedding": [1.0]}]},
    ],
)
def test_an_answer_that_is_no_embedding_is_named(server: Server, body: Any) -> None:
    server.next = [Reply(200, body)]
    with pytest.raises(EmbedderFailed, match="something other than 1 embeddings"):
        OpenAICompatible(server.url, "m").embed(["a"])


@pytest.mark.parametrize("embedding", [None, [], ["a"], "AAAA", [None], [float("nan")]])
def test_a_vector_that_is_none_is_named(server: Server, embedding: Any) -> None:
    server.next = [Reply(200, {"data": [{"index": 0, "embedding": embedding}]})]
    made = embedder_of(OpenAICompatible(server.url, "m"))
    assert made is not None
    with pytest.raises(EmbedderFailed, match=r"The embedder 'm' gave .* for text 0"):
        made.embed(["a"])


def test_the_key_is_shown_nowhere(server: Server) -> None:
    made = OpenAICompatible(f"{server.url}?sig={KEY}", "m", KEY, headers={"x": f"{KEY}2"})
    assert KEY not in repr(made)
    assert "SECRET" not in repr(embedder_of(made))
    for body in (
        {"error": {"message": f"Incorrect API key: {KEY}2"}},
        f"<html>{KEY}".encode(),
        {"error": f"x{KEY}y"},
    ):
        server.next = [Reply(401, body)]
        with pytest.raises(EmbedderFailed, match=r"401 .*\*\*\*") as failed:
            made.embed(["a"])
        assert "SECRET" not in str(failed.value)
        assert failed.value.__cause__ is None
    server.next = [Reply(401, {"error": "k3y, k3 and y"})]
    with pytest.raises(EmbedderFailed, match=r"401 \*\*\*, k3 and y$"):
        OpenAICompatible(server.url, "m", "k3y").embed(["a"])
    for dump in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            dump(made)


@pytest.mark.parametrize("key", ["", " ", "a\nb", "a\r\nX: y", "schlüssel", 3, b"sk"])
def test_a_key_that_can_be_none_is_refused_and_not_shown(key: Any) -> None:
    with pytest.raises(Misconfigured, match="key has to be text") as refused:
        OpenAICompatible("http://h/v1", "m", key)
    assert "schl" not in str(refused.value)
    with pytest.raises(Misconfigured, match="headers has to be text"):
        OpenAICompatible("http://h/v1", "m", headers={"x": key})


def test_a_key_out_of_a_file_may_end_its_line(server: Server) -> None:
    OpenAICompatible(server.url, "m", f"{KEY}\n").embed(["a"])
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "address of HTTP"),
        ("api.openai.com/v1", "address of HTTP"),
        ("http://", "address of HTTP"),
        ("http://h:99999/", "address of HTTP"),
        ("http://[::1/", "address of HTTP"),
        ("http://a b/", "address of HTTP"),
        ("http://h/\r\nX: y", "address of HTTP"),
        ("", "address of HTTP"),
        (None, "text"),
        (f"https://{KEY}@host/v1", "key is given as key="),
    ],
)
def test_what_is_no_address_is_refused(url: Any, why: str) -> None:
    with pytest.raises(Misconfigured, match=why) as refused:
        OpenAICompatible(url, "m")
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [{"dimensions": 0}, {"dimensions": 1.5}, {"timeout": 0}, {"timeout": None}, {"model": ""}],
)
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match=f"{next(iter(wrong))} "):
        OpenAICompatible("http://h", **{"model": "m", **wrong})
