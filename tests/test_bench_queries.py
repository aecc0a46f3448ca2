"""Queries of a suite are encoded once: the same numbers, the same costs, nothing encoded again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lbr_search.bench.cache import BENCH_INDEXES, QUERIES
from lbr_search.bench.queries import know_queries
from lbr_search.bench.runner import run_bench
from lbr_search.protocols import CompressingEncoder
from lbr_search.types import Compressed, Embeddings
from tests.conftest import HashEncoder
from tests.test_cli import write_suite
from tests.tiny import tiny_encoder

TEXTS = ["acids donate protons", "sort a list", "sort a list", "benzene is aromatic"]


class CountingEncoder(HashEncoder):
    """Counts the queries that it encodes."""

    n_queries = 0

    def encode_queries(self, texts: Sequence[str], *, report=None) -> Embeddings:
        self.n_queries += len(texts)
        return super().encode_queries(texts, report=report)


def test_a_second_benchmark_encodes_no_query(tmp_path: Path) -> None:
    """The values of every query are the same, and the costs hold the encoding of the first run."""
    suite, encoder = write_suite(tmp_path / "notes", "medical"), CountingEncoder()
    first = run_bench([suite], encoders=[encoder], home=tmp_path)
    n_first = encoder.n_queries
    second = run_bench([suite], encoders=[encoder], home=tmp_path)
    assert n_first > 0 and encoder.n_queries == n_first
    assert not second.warnings
    for name, arm in second.suites["notes"].arms.items():
        before = first.suites["notes"].arms[name]
        assert arm.evaluation == before.evaluation and arm.first_hits == before.first_hits
    run_bench([suite], encoders=[encoder], home=tmp_path, fresh=True)
    assert encoder.n_queries == 2 * n_first, "--fresh makes all anew"


def test_what_encoding_took_is_owed_in_every_run(tmp_path: Path) -> None:
    """All at once, one at a time, and a text that stands twice; read back as they were written."""
    encoder = CountingEncoder()
    known = know_queries(encoder, TEXTS, folder=tmp_path, is_fresh=False)
    vectors = known.encode_queries(TEXTS)
    np.testing.assert_array_equal(vectors, HashEncoder().encode_queries(TEXTS))
    owed = [known.owed_s]
    again = know_queries(encoder, TEXTS, folder=tmp_path, is_fresh=False)
    n_before = encoder.n_queries
    np.testing.assert_array_equal(again.encode_queries(TEXTS), vectors)
    owed.append(again.owed_s)
    assert owed[0] == owed[1] > 0
    for text, vector in zip(TEXTS, vectors, strict=True):
        before = again.owed_s
        np.testing.assert_array_equal(again.encode_queries([text])[0], vector)
        assert again.owed_s > before
    assert encoder.n_queries == n_before
    again.encode_queries(["another text"])
    assert encoder.n_queries == n_before + 1, "the encoder answers for what is not known"


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_damaged_file_is_made_anew_and_said(content: bytes | None, tmp_path: Path) -> None:
    """An empty file, another file, or one with a wrong byte: recomputed, with a warning."""
    suite, encoder = write_suite(tmp_path / "notes", "medical"), CountingEncoder()
    first = run_bench([suite], encoders=[encoder], home=tmp_path)
    (file,) = (tmp_path / BENCH_INDEXES / QUERIES).iterdir()
    whole = file.read_bytes()
    turned = bytearray(whole)
    turned[len(whole) // 4] ^= 0xFF  # within the vectors
    file.write_bytes(bytes(turned) if content is None else content)
    n_before = encoder.n_queries
    second = run_bench([suite], encoders=[encoder], home=tmp_path)
    assert "the queries were encoded anew" in second.warnings[0] and file.name in second.warnings[0]
    assert encoder.n_queries > n_before
    arms = [result.suites["notes"].arms["dense"].evaluation for result in (first, second)]
    assert arms[0] == arms[1]


def test_other_texts_and_encoders_have_their_own_file(tmp_path: Path) -> None:
    """A query more, another encoder: never the vectors of something else."""
    for encoder, texts in (
        (HashEncoder(), TEXTS),
        (HashEncoder(), TEXTS[:3]),
        (HashEncoder(salt="b"), TEXTS),
    ):
        known = know_queries(encoder, texts, folder=tmp_path, is_fresh=False)
        expected = encoder.encode_queries(texts)
        np.testing.assert_array_equal(known.encode_queries(texts), expected)
    assert len(list(tmp_path.iterdir())) == 3


def test_compressed_queries_are_kept_too(tmp_path: Path) -> None:
    """Of an LBR encoder the k vectors of each query, for rerankers that read them."""
    encoder = tiny_encoder(tmp_path / "model")
    known = know_queries(encoder, TEXTS, folder=tmp_path / "kept", is_fresh=False)
    assert isinstance(known, CompressingEncoder)
    made = known.compress_queries(TEXTS)
    np.testing.assert_allclose(made, encoder.compress_queries(TEXTS), atol=1e-5)

    class Blind(type(encoder)):
        def compress_queries(self, texts: Sequence[str]) -> Compressed:
            raise AssertionError("encoded again")

    encoder.__class__ = Blind
    again = know_queries(encoder, TEXTS, folder=tmp_path / "kept", is_fresh=False)
    np.testing.assert_array_equal(again.compress_queries(TEXTS[1:3]), made[1:3])
    assert not isinstance(
        know_queries(HashEncoder(), TEXTS, folder=tmp_path, is_fresh=False), CompressingEncoder
    )
