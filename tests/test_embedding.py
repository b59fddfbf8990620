"""Embedders: what may be one, what is made of its vectors, and how near two of them are."""

import asyncio
import functools
import math
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord import Damaged, EmbedderFailed, Misconfigured
from onrecord.embedding import Known, averaged, embedder_of, same_embedder, similarity
from onrecord.embedding.bits import PLANES, packed, packed_query, width_of
from onrecord.embedding.known import BATCH, LONGEST

numpy = pytest.importorskip("numpy")

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VECTORS = st.lists(NUMBERS, min_size=1, max_size=70)
QUERIES = VECTORS.filter(any)


def letters(texts: Sequence[str]) -> list[list[float]]:
    """A model of eighteen dimensions: how often a letter stands in a text, around what is usual."""
    return [[text.count(letter) - 0.5 for letter in "abcdefghijklmnopqr"] for text in texts]


async def later_letters(texts: Sequence[str]) -> list[list[float]]:
    await asyncio.sleep(0)
    return letters(texts)


def known(embed: Any = letters, name: str = "letters") -> Known:
    made = embedder_of((name, embed))
    assert made is not None
    return made


def signs(pack: bytes, dimensions: int) -> list[int]:
    """What a pack stands for, digit by digit."""
    digits = "".join(f"{byte:08b}" for byte in pack)
    assert "1" not in digits[dimensions:]
    return [1 if digit == "1" else -1 for digit in digits[:dimensions]]


def levels(query: bytes, dimensions: int) -> list[int]:
    """What a query stands for: -7, -5 … 7 a dimension."""
    width = width_of(dimensions)
    planes = [signs(query[at : at + width], dimensions) for at in range(0, len(query), width)]
    return [
        sum(s << (len(planes) - 1 - n) for n, s in enumerate(at))
        for at in zip(*planes, strict=True)
    ]


@given(VECTORS)
def test_a_vector_keeps_its_signs(vector: list[float]) -> None:
    pack = packed(vector)
    assert len(pack) == width_of(len(vector))
    assert signs(pack, len(vector)) == [1 if number > 0 else -1 for number in vector]
    assert packed(numpy.array(vector)) == pack


@given(QUERIES)
def test_a_query_keeps_three_bits_of_each_number(vector: list[float]) -> None:
    query = packed_query(vector)
    assert len(query) == PLANES * width_of(len(vector))
    assert packed_query(numpy.array(vector)) == query
    kept = levels(query, len(vector))
    tiny = max(map(abs, vector)) * 1e-300
    for number, level in zip(vector, kept, strict=True):
        assert abs(number) <= tiny or (number > 0) == (level > 0)
    in_order = sorted(zip(vector, kept, strict=True))
    assert all(one <= other for (_, one), (_, other) in pairwise(in_order))


def test_a_query_is_cut_at_two_and_a_half_deviations() -> None:
    query = packed_query([8.0, 4.0, *[1.0, -1.0] * 15])
    assert levels(query, 32)[:4] == [7, 7, 1, -1]


def test_a_query_of_nothing_is_like_nothing() -> None:
    assert packed_query([0.0] * 9) == b""
    assert similarity(b"", bytes(6), 2) == [0.0, 0.0, 0.0]
    assert similarity(b"\1\2", b"", 2) == []


@st.composite
def compared(draw: st.DrawFn) -> tuple[bytes, list[bytes], int]:
    """A query of one plane or three, and vectors of as many dimensions."""
    dimensions = draw(st.integers(1, 70))
    vectors = st.lists(NUMBERS, min_size=dimensions, max_size=dimensions)
    asked = draw(vectors.filter(any))
    query = packed_query(asked) if draw(st.booleans()) else packed(asked)
    return query, [packed(v) for v in draw(st.lists(vectors, max_size=40))], dimensions


def likened(query: bytes, packs: bytes, dimensions: int) -> list[float]:
    """The similarity, by numpy and where nothing has imported it: the same to the last bit."""
    width = width_of(dimensions)
    found = similarity(query, packs, width, dimensions=dimensions)
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "numpy")
        assert similarity(query, packs, width, dimensions=dimensions) == found
    return found


@given(compared())
def test_similarity_is_by_definition(given: tuple[bytes, list[bytes], int]) -> None:
    query, packs, dimensions = given
    asked = levels(query, dimensions)
    whole = sum(map(abs, asked))
    expected = [sum(map(int.__mul__, asked, signs(pack, dimensions))) / whole for pack in packs]
    assert likened(query, b"".join(packs), dimensions) == expected


@pytest.mark.parametrize("dimensions", [8, 16, 32, 64, 384, 1000])
def test_the_same_is_one_and_the_opposite_is_its_negative(dimensions: int) -> None:
    vector = [math.sin(n * n + 1) for n in range(dimensions)]
    packs = packed(vector) + packed([-number for number in vector])
    for query in (packed(vector), packed_query(vector)):
        assert likened(query, packs * 20, dimensions) == [1.0, -1.0] * 20


def test_numpy_may_be_half_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """By another thread, at this moment."""
    monkeypatch.setitem(sys.modules, "numpy", type(sys)("numpy"))
    packs = known().embed(["abc"] * 30)
    assert packs == [packed(letters(["abc"])[0])] * 30
    query = known().embed_query("abc")
    assert similarity(query, b"".join(packs), 3, dimensions=18) == [1.0] * 30


def test_similarity_refuses_what_does_not_belong_together() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        similarity(b"123", b"1212", 2)
    with pytest.raises(ValueError, match="do not belong together"):
        similarity(b"12", b"1212", 2, dimensions=17)
    with pytest.raises(Damaged, match="3 bytes are no vectors of 2 bytes"):
        similarity(b"12", b"123", 2)


@given(st.lists(st.floats(-1, 1), max_size=9), st.floats(0, 1))
def test_neighbours_count_by_their_share(similarities: list[float], share: float) -> None:
    found = averaged(similarities, share)
    assert len(found) == len(similarities)
    for at, mean in enumerate(found):
        near = [n for n in (at - 1, at + 1) if 0 <= n < len(similarities)]
        total = similarities[at] + share * sum(similarities[n] for n in near)
        assert mean == pytest.approx(total / (1 + share * len(near)))
    assert averaged([0.25] * 5) == [0.25] * 5


class Noting:
    """A model that notes what it was given."""

    name = "noting"
    dimensions = 18

    def __init__(self) -> None:
        self.given: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> Any:
        self.given.append(list(texts))
        return letters(texts)


def test_texts_are_embedded_in_batches_and_come_back_in_order() -> None:
    model = Noting()
    texts = [f"{'a' * (n % 7)}{'bcdefg'[n % 6]}" for n in range(2 * BATCH + 5)]
    made = embedder_of(model)
    assert made is not None
    assert model.given == []
    assert made.embed(texts) == [packed(vector) for vector in letters(texts)]
    assert [len(batch) for batch in model.given] == [BATCH, BATCH, 5]
    lengths = [len(text) for batch in model.given for text in batch]
    assert lengths == sorted(lengths)


def test_a_blank_text_is_not_asked_for() -> None:
    model = Noting()
    made = embedder_of(model)
    assert made is not None
    assert made.embed(["", " \n", "abc"]) == [bytes(3), bytes(3), packed(letters(["abc"])[0])]
    assert made.embed_query("\t") == b""
    assert model.given == [["abc"]]
    # How many zeros there are has to be learnt where nobody has said it.
    assert known().embed(["", ""]) == [bytes(3), bytes(3)]
    assert known().embed([]) == []


def test_a_model_is_given_nothing_endless_and_nothing_that_is_no_character() -> None:
    model = Noting()
    made = embedder_of(model)
    assert made is not None
    made.embed(["a" * 10_000_000, "\ud800b"])
    assert sorted(model.given[0]) == ["?b", "a" * LONGEST]


def test_dimensions_are_said_or_learnt() -> None:
    made = known()
    assert (made.dimensions, made.width) == (None, None)
    made.embed(["a"])
    assert (made.dimensions, made.width) == (18, 3)
    assert "18" in repr(made)
    with pytest.raises(AttributeError, match="cannot be changed"):
        made.name = "other"


def test_prefixes_say_which_one_it_is() -> None:
    class Told(Noting):
        document_prefix = "passage: "
        query_prefix = "query: "

    model = Told()
    made = embedder_of(model)
    assert made is not None
    made.embed(["a"])
    made.embed_query("b")
    assert model.given == [["passage: a"], ["query: b"]]


def test_a_model_may_embed_a_question_otherwise() -> None:
    class Two(Noting):
        def embed_query(self, text: str) -> list[float]:
            return [-number for number in letters([text])[0]]

    made = embedder_of(Two())
    assert made is not None
    query = made.embed_query("abc")
    assert query == packed_query([-number for number in letters(["abc"])[0]])
    assert similarity(query, made.embed(["abc"])[0], 3, dimensions=18) == [-1.0]


class Late:
    """Async throughout."""

    name = "late"
    dimensions = 18

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return await later_letters(texts)

    async def embed_query(self, text: str) -> list[float]:
        return (await later_letters([text]))[0]


class LateCall:
    async def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        return await later_letters(texts)


class Both:
    """In a thread and on a loop by methods of their own."""

    name = "both"
    dimensions = 18

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return letters(texts)

    async def aembed(self, texts: Sequence[str]) -> list[list[float]]:
        return await later_letters(texts)

    def embed_query(self, text: str) -> list[float]:
        return letters([text])[0]

    async def aembed_query(self, text: str) -> list[float]:
        return (await later_letters([text]))[0]


WAYS: dict[str, Callable[[], Any]] = {
    "function": lambda: ("letters", letters),
    "async function": lambda: ("letters", later_letters),
    "async call": lambda: ("letters", LateCall()),
    "looks sync": lambda: ("letters", lambda texts: later_letters(texts)),
    "async object": Late,
    "object": Noting,
    "both": Both,
}


@pytest.mark.parametrize("way", WAYS)
def test_sync_and_async_give_the_same(way: str) -> None:
    made = embedder_of(WAYS[way]())
    assert made is not None
    texts = ["abc", "", "hello", "q"] * 20
    expected = [packed(v) if t else bytes(3) for t, v in zip(texts, letters(texts), strict=True)]
    query = packed_query(letters(["abc"])[0])

    async def on_a_loop() -> None:
        assert await made.aembed(texts) == expected
        assert await made.aembed_query("abc") == query
        assert await made.aidentity() == identity

    assert made.embed(texts) == expected
    assert made.embed_query("abc") == query
    identity = made.identity()
    asyncio.run(on_a_loop())


def test_an_async_one_is_waited_for_where_a_loop_runs() -> None:
    """As in a notebook, whose loop is the caller's."""
    made = known(later_letters)

    async def cell() -> list[bytes]:
        return made.embed(["abc"])

    assert asyncio.run(cell()) == known().embed(["abc"])


def test_an_async_one_sees_one_loop_a_call() -> None:
    """What it keeps open from batch to batch belongs to a loop."""
    loops = []

    async def notes(texts: Sequence[str]) -> list[list[float]]:
        loops.append(asyncio.get_running_loop())
        return letters(texts)

    known(notes).embed(["a"] * (2 * BATCH + 1))
    assert len(loops) == 3
    assert len(set(loops)) == 1


def test_a_sync_one_holds_up_no_loop() -> None:
    async def here() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def waits(texts: Sequence[str]) -> list[list[float]]:
            asyncio.run_coroutine_threadsafe(tick(), loop).result(30)
            return letters(texts)

        async def tick() -> None:
            done.set()

        await known(waits).aembed(["abc"])
        assert done.is_set()

    asyncio.run(here())


WRONG: list[tuple[Any, str]] = [
    (lambda texts: None, "gave a NoneType where a list of vectors"),
    (lambda texts: [], "was given 2 texts and gave 0 vectors"),
    (lambda texts: letters(texts)[:1], "was given 2 texts and gave 1 vectors"),
    (lambda texts: letters([*texts, "x"]), "was given 2 texts and gave 3 vectors"),
    (lambda texts: [[]] * len(texts), r"gave \[\] for text 0"),
    (lambda texts: [[1.0, math.nan]] * len(texts), r"gave \[1.0, nan\] for text 0"),
    (lambda texts: [[1.0, -math.inf]] * len(texts), "none of them NaN or infinite"),
    (lambda texts: numpy.full((len(texts), 3), numpy.inf), "none of them NaN or infinite"),
    (lambda texts: [["1.0"]] * len(texts), "a list of numbers"),
    (lambda texts: [None] * len(texts), "gave None for text 0"),
    (lambda texts: ["abc"] * len(texts), "gave 'abc' for text 0"),
    (lambda texts: [b"abc"] * len(texts), "gave b'abc' for text 0"),
    (lambda texts: [{1: 2}] * len(texts), "gave {1: 2} for text 0"),
    (lambda texts: [[1j]] * len(texts), "a list of numbers"),
    (lambda texts: [[1.0] * len(text) for text in texts], "has 2 dimensions and gave 3 for text 1"),
    (lambda texts: 1 / 0, "failed: ZeroDivisionError: division by zero"),
]


@pytest.mark.parametrize(("embed", "why"), WRONG)
def test_what_is_no_vector_is_named(embed: Any, why: str) -> None:
    made = known(embed, "mine")
    with pytest.raises(EmbedderFailed, match=f"The embedder 'mine' .*{why}"):
        made.embed(["de", "abc"])

    async def later() -> None:
        with pytest.raises(EmbedderFailed, match=f"The embedder 'mine' .*{why}"):
            await known(embed, "mine").aembed(["de", "abc"])

    asyncio.run(later())


def test_large_numbers_are_numbers() -> None:
    assert known(lambda texts: [[1e308, 1e308, -1e308]] * len(texts)).embed(["a"]) == [b"\xc0"]
    assert levels(known(lambda texts: [[1e308] * 3] * len(texts)).embed_query("a"), 3) == [3] * 3


def test_another_number_of_dimensions_than_was_said_is_refused() -> None:
    model = Noting()
    model.dimensions = 17
    with pytest.raises(EmbedderFailed, match="has 17 dimensions and gave 18 for text 0"):
        embedder_of(model).embed(["abc"])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "said",
    [
        "Incorrect API key provided: sk-proj-SECRET0123456789.",
        "401 for https://user:SECRETpassword@host/v1",
        "headers: {'Authorization': 'Bearer SECRET'}",
        "GET /embeddings?api_key=SECRET&x=1",
        "token:SECRET",
        "SECRET0123456789SECRET0123456789",
    ],
)
def test_no_error_shows_a_key(said: str) -> None:
    def fails(texts: Sequence[str]) -> list[list[float]]:
        raise PermissionError(said)

    with pytest.raises(EmbedderFailed) as failed:
        known(fails).embed(["a"])
    assert "PermissionError" in str(failed.value)
    assert "SECRET" not in str(failed.value)
    assert isinstance(failed.value.__cause__, PermissionError)


def test_our_own_errors_come_through_as_they_are() -> None:
    mine = EmbedderFailed("of my own")

    def fails(texts: Sequence[str]) -> list[list[float]]:
        raise mine

    with pytest.raises(EmbedderFailed) as failed:
        known(fails).embed(["a"])
    assert failed.value is mine


def test_an_identity_is_asked_for_once() -> None:
    model = Noting()
    made = embedder_of(model)
    assert made is not None
    assert made.identity() == made.identity()
    assert len(model.given) == 1


def turned(texts: Sequence[str]) -> list[list[float]]:
    return [[*vector[9:], *vector[:9]] for vector in letters(texts)]


def test_another_name_model_or_size_is_another_embedder() -> None:
    mine = known().identity()
    assert same_embedder(mine, known(later_letters).identity())
    assert not same_embedder(mine, known(name="other").identity())
    assert not same_embedder(mine, known(turned).identity())
    assert not same_embedder(mine, known(lambda texts: [v[:17] for v in letters(texts)]).identity())


def test_a_last_digit_makes_no_other_embedder() -> None:
    """A bit of the probes moves where a number lay at zero; an eighth of them may."""

    def noisy(texts: Sequence[str]) -> list[list[float]]:
        return [[-0.5 * vector[0], *vector[1:]] for vector in letters(texts)]

    mine, other = known().identity(), known(noisy).identity()
    assert mine != other
    assert same_embedder(mine, other)
    moved = bytearray(mine)
    moved[8] ^= 0xFF
    assert same_embedder(mine, bytes(moved))
    moved[9:11] = (moved[9] ^ 0xFF, moved[10] ^ 0xFF)
    assert not same_embedder(mine, bytes(moved))


def test_an_identity_stays_short() -> None:
    assert len(known(lambda texts: [[1.0] * 4096] * len(texts)).identity()) == 8 + 4 * 64


def test_a_model_with_one_sign_for_everything_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    known(lambda texts: [[0.5, 0.1]] * len(texts), "flat").identity()
    assert "'flat' gives vectors with the same signs for all texts" in caplog.text
    caplog.clear()
    known().identity()
    assert not caplog.text


class Of:
    """An object with some of what an embedder has."""

    def __init__(self, **has: Any) -> None:
        self.__dict__.update(has)


class LangChains:
    def embed_documents(self, texts: list[str]) -> Any: ...
    def embed_query(self, text: str) -> Any: ...


class LlamaIndexs:
    def get_text_embedding(self, text: str) -> Any: ...
    def __call__(self, nodes: Any) -> Any: ...


class Encodes:
    def encode(self, texts: list[str]) -> Any: ...
    def __call__(self, batch: Any) -> Any: ...


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("openai", "takes \"minilm\" by its name, not 'openai'. Another"),
        (b"minilm", "not b'minilm'"),
        (3, "not 3"),
        (True, "not True"),
        (object(), "an object with name, dimensions and embed"),
        (Noting, r"not a class: make one of it first, Noting\(…\)"),
        (lambda texts: texts, r'needs a name, .*\("my-model", function\)'),
        (functools.partial(letters), "needs a name"),
        (functools.update_wrapper(functools.partial(letters), letters), "needs a name"),
        (("x", 3), r"not \('x', 3\)"),
        (("", letters), "name"),
        (("n" * 201, letters), "more than 200 bytes"),
        ((letters, "x"), "not \\("),
        ([], r"not \[\]"),
        (Of(name="x", embed=3), "not <"),
        (Of(name=None, embed=letters), "name"),
        (Of(name="", embed=letters), "name"),
        (Of(name="x", dimensions=0, embed=letters), "dimensions .* not 0"),
        (Of(name="x", dimensions="3", embed=letters), "dimensions .* not '3'"),
        (Of(name="x", embed=letters, query_prefix=3), "query_prefix has to be text, not 3"),
        (Of(name="x", embed=letters, embed_query=3), "embed_query has to be a method"),
        (LangChains(), r"langchain_onrecord.embedder\(embeddings, name=…\)"),
        (LlamaIndexs(), r"llama_index_onrecord.embedder\(embedding\)"),
        (Encodes(), r'\("my-model", model.encode\)'),
    ],
)
def test_what_is_no_embedder_is_told_what_is(wrong: Any, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        embedder_of(wrong)


def test_what_is_an_embedder() -> None:
    assert embedder_of(None) is None
    mine = known()
    assert embedder_of(mine) is mine
    of_function = embedder_of(letters)
    assert of_function is not None
    assert of_function.name == f"{__name__}.letters"
    of_object = embedder_of(Of(name="x", embed=letters))
    assert of_object is not None
    assert (of_object.name, of_object.dimensions) == ("x", None)
