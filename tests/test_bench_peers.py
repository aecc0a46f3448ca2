"""Other search engines as arms: the hits of their own libraries, under our measures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lbr_search.bench.comparisons import planned_pairs
from lbr_search.bench.peer_arms import open_peer
from lbr_search.bench.runner import run_bench
from lbr_search.config import ChunkConfig
from lbr_search.errors import ConfigError
from tests.conftest import HashEncoder
from tests.hash_cli import run
from tests.test_cli import write_suite

TEXTS = ["acids donate protons", "benzene is aromatic", "sort a list in place", ""]


def test_raw_faiss_and_lancedb_find_what_the_dense_arm_finds(tmp_path: Path) -> None:
    """Our index adds no loss: every metric of every query; each peer is compared with dense."""
    suite = write_suite(tmp_path / "notes", "medical")
    peers = ["faiss", "lancedb", "bm25s"]
    encoder = HashEncoder()
    found = run_bench([suite], encoders=[encoder], home=tmp_path, peers=peers)
    arms = found.suites["notes"].arms
    assert list(arms) == ["lexical", "dense", "hybrid", *peers]
    for name in peers[:2]:
        assert arms[name].evaluation == arms["dense"].evaluation
        assert ("dense", name) in found.suites["notes"].comparisons
    assert ("lexical", "bm25s") in found.suites["notes"].comparisons
    for name in peers:
        cost = arms[name].cost
        assert cost is not None and cost.bytes_per_document > 0 and cost.latency.p50 > 0
    assert found.settings["peers"] == peers


def test_plain_bm25s_ranks_by_its_own_formula(tmp_path: Path) -> None:
    """The first hit of each text is itself; a query of unknown words finds nothing."""
    peer = open_peer("bm25s")
    peer.build(TEXTS, folder=tmp_path)
    rankings = peer.search([*TEXTS[:3], "zebra"], k=10)
    assert [ranking[0][0] for ranking in rankings[:3]] == [0, 1, 2] and rankings[3] == []
    assert any(tmp_path.iterdir()), "saved, so that its size is known"


def test_what_cannot_be_measured_is_refused_before_the_work(tmp_path: Path) -> None:
    """Unknown peers, one twice, chunks instead of documents, no vectors, Pyserini."""
    suite, encoder = write_suite(tmp_path / "notes", "medical"), HashEncoder()
    for options, message in (
        ({"peers": ["fais"]}, "use faiss"),
        ({"peers": ["bm25s", "bm25s"]}, "given twice"),
        ({"peers": ["faiss"], "chunk": ChunkConfig(8, 0)}, "whole documents"),
        ({"peers": ["lancedb"], "modes": ()}, "has none"),
        ({"peers": ["pyserini"]}, "--run pyserini=FILE"),
        ({"peers": ["pylate:some-folder"]}, "--run pylate=FILE"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_bench([suite], encoders=[encoder], home=tmp_path, **options)
    assert encoder.n_encoded == 0


def test_peers_alone_need_no_encoder(tmp_path: Path) -> None:
    """``--mode none --peer bm25s`` measures bm25s; a gate measures it again."""
    suite = write_suite(tmp_path / "notes", "medical")
    base = tmp_path / "base.json"
    arguments = ("--home", tmp_path, "bench", suite, "--mode", "none", "--peer", "bm25s")
    found = run(*arguments, "--json", base)
    assert found.code == 0, found.err
    assert list(json.loads(base.read_text())["suites"]["notes"]["arms"]) == ["bm25s"]
    again = run("--home", tmp_path, "bench", "gate", suite, "--baseline", base)
    assert again.code == 0, again.err


def test_peers_are_compared_with_the_mode_that_answers_the_same_question() -> None:
    """Where that mode is not measured, with what there is of ours."""
    beside = {"bm25s": "lexical", "faiss": "dense"}
    assert planned_pairs(["dense"], peers=beside) == [("dense", "bm25s"), ("dense", "faiss")]
    assert planned_pairs([], peers=beside) == [("faiss", "bm25s")]
