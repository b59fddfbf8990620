"""Embeddings over HTTP as OpenAI has them, and most others too: POST …/embeddings."""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import urlsplit, urlunsplit

from onrecord.arguments import check_above_zero, check_number, check_text
from onrecord.embedding.known import MOST_DIMENSIONS, without_keys
from onrecord.errors import EmbedderFailed, Misconfigured, shown

_TRIES: Final = 3
_FIRST_WAIT: Final = 0.5
_LATER: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""What a server answers that may answer otherwise a moment later."""
_TOO_LONG: Final = frozenset({400, 413, 422})
_ABOUT_LENGTH: Final = ("token", "length", "long", "large", "exceed")
_SHORT: Final = 500
"""A text of so many characters is not cut any further."""
_MOST: Final = 256 * 1024 * 1024
"""Bytes of an answer: 32 vectors of 65,536 numbers are 50 MB."""


class OpenAICompatible:
    """A server that has ``/embeddings``: OpenAI's and others', or one on this machine.

        OpenAICompatible("https://api.openai.com/v1", "text-embedding-3-small", key)

    ``dimensions`` asks for so many, of a model that can be asked. ``timeout`` is in seconds and of
    a batch of 32 texts, second and third tries included. ``headers`` are sent as well. A text that
    is too long for the model is cut until it is not. No redirection is followed, so the key
    reaches nobody but who is named here.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None = None,
        *,
        dimensions: int | None = None,
        timeout: float = 30.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        check_text("model", model, 200)
        if dimensions is not None:
            check_number("dimensions", dimensions, 1, MOST_DIMENSIONS)
        check_above_zero("timeout", timeout, 3600)
        self.name = model
        self.dimensions = dimensions
        self._timeout = timeout
        self._url, self._shown = _address(url)
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {_header('key', key)}"
        for name, value in (headers or {}).items():
            self._headers[_header("headers", name)] = _header("headers", value)
        secret = [key, *(headers or {}).values()]
        self._secrets = sorted((s.strip() for s in secret if s and s.strip()), key=len)[::-1]

    def __repr__(self) -> str:
        return f"OpenAICompatible({self._shown!r}, {self.name!r}, dimensions={self.dimensions})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an OpenAICompatible is not pickled: its key would lie in a file")

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed a batch of texts, each in one request."""
        until = time.monotonic() + self._timeout
        texts = list(texts)
        while True:
            answer = self._answer(texts, until)
            if answer.status == 200:
                return self._vectors(answer.body, len(texts))
            longest = max(map(len, texts), default=0)
            if longest <= _SHORT or not answer.says_too_long():
                self._fail(f"{answer.status} {self._quoted(answer.body)}".strip())
            texts = [text[: max(longest // 2, _SHORT)] for text in texts]

    def _answer(self, texts: list[str], until: float) -> _Answer:
        """Ask, and ask again where that may help and there is time."""
        asked: dict[str, Any] = {"model": self.name, "input": texts}
        if self.dimensions is not None:
            asked["dimensions"] = self.dimensions
        body = json.dumps(asked).encode()
        wait = _FIRST_WAIT * random.uniform(0.5, 1.5)
        for tries in range(1, _TRIES + 1):
            left = until - time.monotonic()
            fault: Exception | None = None
            try:
                answer = self._request(body, max(left, 0.001), until)
                if answer.status not in _LATER:
                    return answer
                why, wait_for = f"{answer.status} {self._quoted(answer.body)}", answer.wait
            except (OSError, http.client.HTTPException) as caught:
                fault, why, wait_for = caught, self._told(caught), None
            pause = wait if wait_for is None else wait_for
            if tries == _TRIES or time.monotonic() + pause >= until:
                self._fail(f"{why} (asked {tries} times)" if tries > 1 else why, fault)
            time.sleep(pause)
            wait *= 2
        raise AssertionError("unreachable")

    def _request(self, body: bytes, timeout: float, until: float) -> _Answer:
        request = urllib.request.Request(self._url, body, self._headers, method="POST")
        try:
            response = _opener().open(request, timeout=timeout)
        except urllib.error.HTTPError as refused:
            response = refused
        with response:
            read = bytearray()
            while piece := response.read1(1 << 16):
                read += piece
                if len(read) > _MOST:
                    raise http.client.HTTPException(f"an answer of more than {_MOST:,} bytes")
                if time.monotonic() > until:
                    raise TimeoutError("the answer did not end in time")
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            return _Answer(response.status, bytes(read), _seconds(response.headers))

    def _vectors(self, body: bytes, wanted: int) -> list[list[float]]:
        try:
            rows = {row["index"]: row["embedding"] for row in json.loads(body)["data"]}
            return [rows[place] for place in range(wanted)]
        except (ValueError, KeyError, TypeError, RecursionError):
            self._fail(
                f"something other than {wanted} embeddings with their index: {self._quoted(body)}"
            )

    def _fail(self, why: str, fault: Exception | None = None) -> NoReturn:
        raise EmbedderFailed(f"{self._shown} answered for {self.name}: {why}") from fault

    def _told(self, fault: Exception) -> str:
        said = getattr(fault, "reason", None) or fault
        return self._hidden(f"nothing. {type(fault).__name__}: {said}")

    def _quoted(self, body: bytes) -> str:
        """What a server said, as far as it may be shown."""
        said = body[:4096].decode("utf-8", "replace")
        try:
            told = json.loads(body)["error"]
            said = told if isinstance(told, str) else str(told["message"])
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        return self._hidden(said)

    def _hidden(self, said: str) -> str:
        for secret in self._secrets:
            said = said.replace(secret, "***")
        return without_keys(" ".join(said.split()))[:300]


class _Answer(NamedTuple):
    """What a server answered."""

    status: int
    body: bytes
    wait: float | None
    """Seconds it asks to be left alone."""

    def says_too_long(self) -> bool:
        said = self.body[:4096].decode("utf-8", "replace").lower()
        return self.status == 413 or (
            self.status in _TOO_LONG and any(word in said for word in _ABOUT_LENGTH)
        )


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """urllib would take the key along to wherever it is sent."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    """Make what asks over HTTP: with the proxies of the environment, and no other scheme."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _NoRedirection(),
    ):
        opener.add_handler(handler)
    return opener


def _address(url: object) -> tuple[str, str]:
    """Read where to ask, and how that may be shown."""
    if not isinstance(url, str):
        raise Misconfigured(f"url has to be text, as https://api.openai.com/v1: {shown(url)}.")
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable or not url.isascii() or any(c.isspace() for c in url.strip()):
        raise Misconfigured(
            "url has to be an address of HTTP that ends before /embeddings, as "
            "https://api.openai.com/v1."
        )
    if "@" in parts.netloc:
        raise Misconfigured("url has a user or a password in it: the key is given as key=.")
    path = parts.path.rstrip("/")
    path = path if path.endswith("/embeddings") else f"{path}/embeddings"
    whole = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
    return whole, urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _header(what: str, given: object) -> str:
    """Check what goes into a header. What is wrong with it is said, but not what it is."""
    said = given.strip() if isinstance(given, str) else ""
    if not said or not said.isascii() or not said.isprintable():
        raise Misconfigured(f"{what} has to be text of printable ASCII letters.")
    return said


def _seconds(headers: Any) -> float | None:
    try:
        return max(float(headers.get("Retry-After", "")), 0.0)
    except ValueError:
        return None
