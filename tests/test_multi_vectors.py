"""The compressed vectors of each chunk: as codes, through an ingest, and back at search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lbr_search.config import ChunkConfig, IndexConfig
from lbr_search.corpus.chunking import chunk_documents
from lbr_search.encoder.checkpoint import LbrConfig, save_checkpoint
from lbr_search.encoder.lbr import LbrEncoder
from lbr_search.errors import EncoderError, IndexFormatError
from lbr_search.index.build import build
from lbr_search.index.info import index_info
from lbr_search.index.multi_vectors import quantise
from lbr_search.index.opened import open_index
from lbr_search.index.verify import verify_index
from lbr_search.types import Document, pool
from tests.conftest import HashEncoder
from tests.tiny import WORDS, tiny_encoder, tiny_model, tiny_tokenizer

DOCUMENTS = [
    Document(f"d{n}", f"{a} {b} {a}", title=b)
    for n, (a, b) in enumerate(zip(WORDS, reversed(WORDS), strict=True))
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> LbrEncoder:
    return tiny_encoder(tmp_path_factory.mktemp("tiny") / "checkpoint")


def ingest(folder: Path, encoder, documents=DOCUMENTS, *, multi_vector: bool = True):
    chunks = chunk_documents(
        documents, token_spans=encoder.token_spans, config=ChunkConfig(chunk_tokens=0, overlap=0)
    )
    return build(
        chunks, encoder=encoder, folder=folder, config=IndexConfig(multi_vector=multi_vector)
    )


def test_codes_are_within_half_a_step():
    """Each number is off by at most half of its vector's scale; the largest is kept exactly."""
    given = np.random.default_rng(0).normal(size=(4, 3, 16)).astype(np.float32)
    given[2, 1] = 0
    multi = quantise(given)
    assert (multi.codes.dtype, multi.scales.dtype) == (np.int8, np.float32)
    error = np.abs(multi.floats() - given)
    assert (error <= multi.scales[:, :, None] / 2 + 1e-7).all()
    assert np.allclose(np.abs(multi.floats()).max(axis=2), np.abs(given).max(axis=2))
    some = multi.take(np.array([3, 0]))
    np.testing.assert_array_equal(some.floats(), multi.floats()[[3, 0]])


def test_compressed_vectors_pool_to_the_vectors_of_search(encoder: LbrEncoder):
    """One forward pass gives both forms."""
    texts = [document.text for document in DOCUMENTS]
    compressed = encoder.compress_passages(texts)
    assert compressed.shape == (len(texts), 3, 32)
    assert np.abs(pool(compressed) - encoder.encode_passages(texts)).max() < 1e-6
    queries = encoder.compress_queries(texts)
    assert np.abs(pool(queries) - encoder.encode_queries(texts)).max() < 1e-6


def test_an_index_gives_back_what_the_encoder_made(tmp_path: Path, encoder: LbrEncoder):
    """Codes of every chunk, in the order asked for, also after documents changed and went."""
    ingest(tmp_path / "i", encoder)
    changed = [Document("d1", "glucose glucose", title="new"), *DOCUMENTS[3:]]
    report = ingest(tmp_path / "i", encoder, changed)
    assert report.n_updated == 1
    opened = open_index(tmp_path / "i", encoder=encoder)
    rows = opened.dense(encoder.encode_queries(["glucose"]), k=100)[0][0]
    rows = rows[rows >= 0][::-1]
    passages = [f"{chunk.title} {chunk.text}" for chunk in opened.fetch(rows)]
    assert "new glucose glucose" in passages
    expected = encoder.compress_passages(passages)
    stored = opened.multi_vectors(rows)
    assert stored is not None
    largest = np.abs(expected).max(axis=2, keepdims=True)
    assert (np.abs(stored - expected) <= largest / 127 / 2 + 1e-5).all()
    info = index_info(tmp_path / "i")
    assert info["vectors"]["vectors_per_chunk"] == 3
    assert info["size_bytes"]["multi_vectors"] >= len(rows) * 3 * 32
    assert verify_index(tmp_path / "i").problems == []


def test_an_index_without_them_says_so(tmp_path: Path, encoder: LbrEncoder):
    """They are kept where asked for at the first ingest, and cannot be added to an index."""
    ingest(tmp_path / "i", encoder, multi_vector=False)
    opened = open_index(tmp_path / "i", encoder=encoder)
    assert opened.multi_vectors(np.array([0])) is None
    with pytest.raises(IndexFormatError, match="without --multi-vector") as refused:
        ingest(tmp_path / "i", encoder)
    assert "--multi-vector" in refused.value.fix
    with pytest.raises(EncoderError, match="one vector a text"):
        ingest(tmp_path / "h", HashEncoder())


def test_shortened_vectors_have_no_compressed_ones(tmp_path: Path):
    """An encoder at a shorter size says so, instead of failing on the shapes."""
    config = LbrConfig(name="tiny", n_compression_tokens=3, max_tokens=24, dims=(32, 16))
    folder = tmp_path / "checkpoint"
    save_checkpoint(tiny_model(), tiny_tokenizer(), config, folder, dtype=torch.float32)
    short = LbrEncoder(folder, dtype="float32", dim=16)
    with pytest.raises(EncoderError, match="16 of 32 numbers") as refused:
        ingest(tmp_path / "i", short)
    assert f"--encoder {folder.resolve()}#float32" in refused.value.fix


def test_an_index_with_them_stays_one(tmp_path: Path, encoder: LbrEncoder):
    """An ingest that does not ask keeps adding them: all chunks of an index are alike."""
    ingest(tmp_path / "i", encoder, DOCUMENTS[:3])
    ingest(tmp_path / "i", encoder, multi_vector=False)
    opened = open_index(tmp_path / "i", encoder=encoder)
    assert opened.manifest.n_vectors == 3
    assert opened.n_chunks == len(DOCUMENTS)
