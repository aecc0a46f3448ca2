"""Whatever bytes stand in a file, its reader neither crashes nor hangs, and gives sound documents.

A few mutations of a real file a reader in the usual run; ``pytest -m faults`` tries thousands.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbr_search.config import ChunkConfig
from lbr_search.corpus.chunking import chunk_documents
from lbr_search.corpus.each import read_one
from lbr_search.corpus.rejects import Rejects
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions
from lbr_search.registry import READERS
from tests.conftest import HashEncoder
from tests.test_code_reader import SAMPLES
from tests.written import source_for

NOT_FUZZED = ("python-stdlib", "beir", "text", "files", "sql")
FUZZED = [name for name in READERS if name not in NOT_FUZZED]
ONE_FILE_S = 20.0
SPLICES = (
    b"\0",
    b"\xff\xfe",
    b"<",
    b"&a;",
    b"]]>",
    b"{",
    b'"',
    b"\n",
    b"$$$$\n",
    b"%PDF",
    b"[" * 99,
)

Edit = tuple[str, float, int]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "drop", "double", "splice", "noise"]),
        st.floats(0, 1),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=6,
)


def mutated(data: bytes, edits: list[Edit]) -> bytes:
    """`data` after each edit at a relative place."""
    out = bytearray(data)
    for kind, where, value in edits:
        at = int(where * max(0, len(out) - 1))
        span = 1 + value * max(1, len(out) // 256)
        if kind == "flip" and out:
            out[at] ^= value or 1
        elif kind == "cut":
            del out[at:]
        elif kind == "drop":
            del out[at : at + span]
        elif kind == "double":
            out[at:at] = out[at : at + span]
        elif kind == "splice":
            out[at:at] = SPLICES[value % len(SPLICES)]
        elif kind == "noise":
            out[at : at + span] = random.Random(value).randbytes(span)
    return bytes(out[:2_000_000])


@pytest.fixture(scope="module")
def samples() -> Iterator[dict[str, tuple[str, bytes]]]:
    """Reader -> name and bytes of a good file of its kind."""
    found = {}
    folder = Path(tempfile.mkdtemp())
    for name in FUZZED:
        (folder / name).mkdir()
        source = source_for(name, folder / name)
        files = [source] if source.is_file() else sorted(source.iterdir())
        good = next(file for file in files if not file.name.startswith("bad"))
        found[name] = (good.name, good.read_bytes())
    yield found
    shutil.rmtree(folder)


def read_safely(name: str, file_name: str, data: bytes) -> None:
    """Read the bytes as a file; fail on anything but documents, rejects and a CorpusError."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / file_name
        file.write_bytes(data)
        rejects = Rejects(None)
        reader = READERS.resolve(name)
        started = time.monotonic()
        documents = list(
            read_one(
                file,
                lambda one, how, sink: reader(one, options=how, rejects=sink),
                root=Path(folder),
                options=ReadOptions(),
                rejects=rejects,
            )
        )
        spans = HashEncoder().token_spans
        for chunk in chunk_documents(
            documents[:50], token_spans=spans, config=ChunkConfig(chunk_tokens=32, overlap=4)
        ):
            assert chunk.text is not None
        assert time.monotonic() - started < ONE_FILE_S
    assert len({document.doc_id for document in documents}) == len(documents)
    for document in documents:
        starts = [part.start for part in document.sections]
        assert starts == sorted(starts)
        assert all(0 <= start <= len(document.text) for start in starts)


def run_fuzz(name: str, file_name: str, data: bytes, n_examples: int) -> None:
    @settings(
        max_examples=n_examples,
        deadline=None,
        database=None,
        derandomize=n_examples < 100,
        suppress_health_check=list(HealthCheck),
    )
    @given(EDITS)
    def attempt(edits: list[Edit]) -> None:
        read_safely(name, file_name, mutated(data, edits))

    attempt()


@pytest.mark.parametrize("name", FUZZED)
def test_damaged_files_are_read_or_rejected(samples, name):
    """A dozen mutations of each kind of file."""
    run_fuzz(name, *samples[name], 12)


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_code_is_read_or_rejected(name):
    """Source that is no program any more goes through every grammar."""
    run_fuzz("code", name, SAMPLES[name][0].encode(), 12)


@pytest.mark.parametrize("name", FUZZED)
def test_noise_is_read_or_rejected(samples, name):
    """Bytes of no format at all under a name that promises one, and nothing at all."""
    for seed in range(3):
        read_safely(name, samples[name][0], random.Random(seed).randbytes(seed * 4_000))


@pytest.mark.faults
@pytest.mark.parametrize("name", FUZZED)
def test_damaged_files_at_length(samples, name):
    """Thousands of mutations of each kind of file."""
    run_fuzz(name, *samples[name], 1_500)


@pytest.mark.faults
@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_code_at_length(name):
    """Thousands of mutations for every grammar."""
    run_fuzz("code", name, SAMPLES[name][0].encode(), 3_000)


def test_a_corpus_error_is_no_crash(tmp_path):
    """Readers of one table raise for what makes all of it worthless; a folder goes on."""
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    (tmp_path / "b.md").write_text("# B\n\ntext\n")
    rejects = Rejects(None)
    with pytest.raises(CorpusError):
        list(
            READERS.resolve("parquet")(
                tmp_path / "a.parquet", options=ReadOptions(), rejects=rejects
            )
        )
    documents = list(READERS.resolve("files")(tmp_path, options=ReadOptions(), rejects=rejects))
    assert [document.doc_id for document in documents] == ["b.md"]
    assert rejects.by_reason == {"damaged": 1}
