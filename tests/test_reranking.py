"""Rerankers against hand-computed values, and what reranking does to a ranking."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lbr_search.config import ChunkConfig, IndexConfig, SearchConfig
from lbr_search.corpus.chunking import chunk_documents
from lbr_search.encoder.batching import collate
from lbr_search.encoder.lbr import LbrEncoder
from lbr_search.errors import ConfigError, EncoderError, IndexFormatError
from lbr_search.index.build import build
from lbr_search.protocols import CompressingEncoder, Passage, Reranker
from lbr_search.registry import RERANKERS
from lbr_search.rerank.likelihood import Likelihood
from lbr_search.rerank.maxsim import MaxSim, max_sim
from lbr_search.search.ranking import Candidate
from lbr_search.search.reranking import SLICE, rerank
from lbr_search.search.searcher import Searcher
from lbr_search.types import Leg
from tests.conftest import HashEncoder
from tests.test_multi_vectors import DOCUMENTS
from tests.tiny import tiny_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> LbrEncoder:
    return tiny_encoder(tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, encoder: LbrEncoder) -> Path:
    folder = tmp_path_factory.mktemp("index") / "multi"
    chunks = chunk_documents(
        DOCUMENTS, token_spans=encoder.token_spans, config=ChunkConfig(chunk_tokens=0, overlap=0)
    )
    build(chunks, encoder=encoder, folder=folder, config=IndexConfig(multi_vector=True))
    return folder


def test_max_sim_by_hand():
    """Each query vector takes its nearest stored one; lengths do not count."""
    query = np.array([[2.0, 0.0], [0.0, 3.0]], dtype=np.float32)
    passages = np.array([[[1.0, 0.0], [1.0, 1.0]], [[0.0, -1.0], [-5.0, 0.0]]], dtype=np.float32)
    half = np.sqrt(0.5)
    expected = [(1.0 + half) / 2, (0.0 + 0.0) / 2]
    np.testing.assert_allclose(max_sim(query, passages), expected, atol=1e-6)


def test_likelihood_is_the_decoder_of_training(encoder: LbrEncoder):
    """The same number as the training loss gives for each pair alone, with its sign turned."""
    query = "insulin lowers glucose"
    compressed = encoder.compress_passages(["sort a list", "insulin", "benzene ring in place"])
    scores = encoder.query_log_likelihood(query, compressed)
    ids = encoder._tokenizer.encode(query, add_special_tokens=False).ids
    for score, one in zip(scores, compressed, strict=True):
        target = collate([ids], n_compression_tokens=0)
        with torch.inference_mode():
            nll = encoder.model.generate_nll(torch.from_numpy(one[None]), target)
        assert abs(float(nll[0]) + float(score)) < 1e-4
    passages = [Passage("", one) for one in compressed]
    assert Likelihood(encoder).score(query, passages) == pytest.approx(scores.tolist())


def test_likelihood_in_parts_is_the_same(encoder: LbrEncoder, monkeypatch: pytest.MonkeyPatch):
    """A long query's scores over the vocabulary are never held at once, and nothing changes."""
    compressed = torch.from_numpy(encoder.compress_passages(["sort a list", "insulin", "benzene"]))
    target = torch.tensor(encoder._tokenizer.encode("insulin lowers glucose").ids)
    seen = []
    logits = encoder.model.backbone.logits

    def counted(states: torch.Tensor) -> torch.Tensor:
        seen.append(len(states))
        return logits(states)

    with torch.inference_mode():
        whole = encoder.model.shared_target_nll(compressed, target)
        monkeypatch.setattr("lbr_search.encoder.model.LOGIT_PLACES", 4)
        monkeypatch.setattr(encoder.model.backbone, "logits", counted)
        parts = encoder.model.shared_target_nll(compressed, target)
    assert sum(seen) == 3 * len(target)
    assert max(seen) == 4
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)


def test_what_is_generated_is_the_likeliest(encoder: LbrEncoder):
    """The first written token is the one of largest logit behind the soft tokens."""
    compressed = encoder.compress_passages(["insulin lowers glucose", "sort"])
    model = encoder.model
    with torch.inference_mode():
        states = model.backbone.states(model.bridge(torch.from_numpy(compressed)))
        expected = model.backbone.logits(states[:, -1]).argmax(dim=-1)
        written = model.write(torch.from_numpy(compressed), max_tokens=5)
    assert written.shape == (2, 5)
    assert written[:, 0].tolist() == expected.tolist()
    assert len(encoder.generate(compressed, max_tokens=3)) == 2


def candidates(n: int) -> list[Candidate]:
    return [
        Candidate("i", f"d{i}", i, 10.0 - i, {"dense": Leg(i + 1, 1.0 - i / 10)}) for i in range(n)
    ]


class Backwards:
    """Likes best what the first stage liked least."""

    needs_vectors = False
    is_listwise = False

    def __init__(self) -> None:
        self.calls: list[int] = []

    def score(self, query, passages, *, query_vectors=None):
        self.calls.append(len(passages))
        return [float(passage.text) for passage in passages]


def texts(some):
    return [Passage(str(found.row)) for found in some]


def run_rerank(reranker: Reranker, n: int, **settings):
    config = SearchConfig(rerank="cross-encoder:x", **settings)
    return rerank("q", candidates(n), reranker=reranker, passages=texts, config=config)


def test_the_head_is_mixed_and_the_rest_keeps_its_order():
    """Weight 1 turns the head round, weight 0 leaves it; below it nothing moves."""
    turned = run_rerank(Backwards(), 6, rerank_depth=4, rerank_weight=1.0).ranking
    assert [found.doc_id for found in turned] == ["d3", "d2", "d1", "d0", "d4", "d5"]
    assert [found.first_rank for found in turned] == [4, 3, 2, 1, 5, 6]
    assert turned[0].legs["cross-encoder"] == Leg(1, 3.0)
    assert "cross-encoder" not in turned[4].legs
    scores = [found.score for found in turned]
    assert scores == sorted(scores, reverse=True)
    same = run_rerank(Backwards(), 6, rerank_depth=4, rerank_weight=0.0).ranking
    assert [found.doc_id for found in same] == [f"d{i}" for i in range(6)]


def test_the_mixture_by_hand():
    """0.25 of the reranker's min-max score and 0.75 of the first stage's."""
    mixed = run_rerank(Backwards(), 3, rerank_depth=9, rerank_weight=0.25).ranking
    assert {found.doc_id: found.score for found in mixed} == pytest.approx(
        {"d0": 0.75 * 1 + 0.25 * 0, "d1": 0.75 / 2 + 0.25 / 2, "d2": 0.25}
    )


def test_when_time_is_up_the_rest_keeps_its_order(monkeypatch: pytest.MonkeyPatch):
    """One slice is always scored; the clock is looked at between slices."""
    clock = iter(float(n) for n in range(100))
    monkeypatch.setattr("lbr_search.search.reranking.time.perf_counter", lambda: next(clock))
    reranker = Backwards()
    n = 3 * SLICE
    result = run_rerank(reranker, n, rerank_depth=n, rerank_budget_ms=1_500.0, rerank_weight=1.0)
    assert reranker.calls == [SLICE, SLICE]
    assert (result.n_scored, result.n_wanted) == (2 * SLICE, n)
    assert [found.row for found in result.ranking[2 * SLICE :]] == list(range(2 * SLICE, n))


@pytest.mark.parametrize("name", ["maxsim", "likelihood"])
def test_a_searcher_reranks_from_the_stored_vectors(index: Path, encoder: LbrEncoder, name: str):
    """With weight 1 the order is that of the reranker over freshly compressed passages."""
    config = SearchConfig(mode="dense", rerank=name, rerank_weight=1.0, rerank_depth=50)
    searcher = Searcher.open(index, encoder=encoder, config=config)
    query = "aspirin blood"
    hits = searcher.search(query, k=5)
    fresh = encoder.compress_passages([f"{d.title} {d.text}" for d in DOCUMENTS])
    passages = [Passage("", one) for one in fresh]
    scores = RERANKERS.resolve(name)(encoder, "").score(query, passages)
    best = max(range(len(scores)), key=lambda i: scores[i])
    assert hits[0].doc_id == DOCUMENTS[best].doc_id
    assert hits[0].legs[name].score == pytest.approx(scores[best], abs=0.02)
    assert hits[0].first_rank >= 1
    first_stage = Searcher.open(index, encoder=encoder, config=SearchConfig(mode="dense"))
    ranks = {hit.doc_id: hit.rank for hit in first_stage.search(query, k=50)}
    assert all(ranks[hit.doc_id] == hit.first_rank for hit in hits)


class CountingEncoder:
    """An encoder that counts the queries it is given, however they are asked for."""

    def __init__(self, encoder: LbrEncoder) -> None:
        self._encoder = encoder
        self.n_queries = 0

    def __getattr__(self, name: str):
        return getattr(self._encoder, name)

    def encode_queries(self, texts, *, report=None):
        self.n_queries += len(texts)
        return self._encoder.encode_queries(texts, report=report)

    def compress_queries(self, texts):
        self.n_queries += len(texts)
        return self._encoder.compress_queries(texts)

    def compress_passages(self, texts, *, report=None):
        return self._encoder.compress_passages(texts, report=report)

    def query_log_likelihood(self, query, compressed):
        return self._encoder.query_log_likelihood(query, compressed)

    def generate(self, compressed, *, max_tokens):
        return self._encoder.generate(compressed, max_tokens=max_tokens)


@pytest.mark.parametrize("name", ["maxsim", "likelihood"])
@pytest.mark.parametrize("mode", ["hybrid", "dense"])
def test_a_query_is_encoded_once(index: Path, encoder: LbrEncoder, name: str, mode: str):
    """By the dense leg and the reranker together, and the answer is that of two encodings."""
    counting = CountingEncoder(encoder)
    config = SearchConfig(mode=mode, rerank=name)
    searcher = Searcher.open(index, encoder=counting, config=config)
    queries = ["aspirin blood", "sort a list", "glucose"]
    many = searcher.search_many(queries, k=4)
    assert counting.n_queries == len(queries)
    for query, hits in zip(queries, many, strict=True):
        reranker = RERANKERS.resolve(name)(encoder, "")
        source = searcher._sources[hits[0].source]
        stored = source.opened.multi_vectors(np.array([hit.row for hit in hits]))
        scores = reranker.score(query, [Passage("", one) for one in stored])
        assert [hit.legs[name].score for hit in hits] == pytest.approx(scores, abs=1e-5)
        plain = Searcher.open(index, encoder=encoder, config=SearchConfig(mode=mode))
        firsts = {hit.doc_id: hit.legs["dense"].score for hit in plain.search(query, k=50)}
        found = {hit.doc_id: hit.legs["dense"].score for hit in hits}
        assert found == pytest.approx({d: firsts[d] for d in found}, abs=1e-5)


def test_a_depth_below_k_leaves_the_rest(index: Path, encoder: LbrEncoder):
    """Five hits of which two are reranked: the other three follow as the first stage had them."""
    config = SearchConfig(mode="dense", rerank="maxsim", rerank_depth=2)
    searcher = Searcher.open(index, encoder=encoder, config=config)
    hits = searcher.search("aspirin", k=5)
    assert sorted(hit.first_rank for hit in hits[:2]) == [1, 2]
    assert [hit.first_rank for hit in hits[2:]] == [3, 4, 5]


def test_an_index_without_stored_vectors_is_named_with_the_command(tmp_path: Path):
    """`maxsim` cannot be asked of an index that keeps one vector a chunk."""
    hashing = HashEncoder()
    chunks = chunk_documents(
        DOCUMENTS, token_spans=hashing.token_spans, config=ChunkConfig(chunk_tokens=0, overlap=0)
    )
    build(chunks, encoder=hashing, folder=tmp_path / "one", config=IndexConfig())
    with pytest.raises(IndexFormatError, match="keeps none") as refused:
        Searcher.open(tmp_path / "one", encoder=hashing, config=SearchConfig(rerank="maxsim"))
    assert "--multi-vector" in refused.value.fix


def test_unknown_rerankers_and_weights_are_refused():
    """The nearest name, and the allowed range."""
    with pytest.raises(ConfigError, match="maxsin") as refused:
        SearchConfig(rerank="maxsin")
    assert "maxsim" in refused.value.fix
    with pytest.raises(ConfigError, match="rerank_weight"):
        SearchConfig(rerank_weight=1.5)


def test_a_cross_encoder_folder_rescores_text(tmp_path: Path):
    """Its scores are those of the model itself; a folder that is none is refused."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "aspirin", "blood", "sort", "list"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "ce")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "ce")
    reranker = RERANKERS.resolve("cross-encoder")(HashEncoder(), str(tmp_path / "ce"))
    scores = reranker.score("aspirin", [Passage("blood blood"), Passage("sort list")])
    model = sentence_transformers.CrossEncoder(str(tmp_path / "ce"))
    expected = model.predict([("aspirin", "blood blood"), ("aspirin", "sort list")])
    assert scores == pytest.approx(expected.tolist())
    with pytest.raises(EncoderError, match="nowhere"):
        RERANKERS.resolve("cross-encoder")(HashEncoder(), str(tmp_path / "nowhere"))


def test_the_encoder_is_what_rerankers_ask_for(encoder: LbrEncoder):
    """Every registered reranker follows the Protocol; hashing encoders do not compress."""
    assert isinstance(encoder, CompressingEncoder)
    assert not isinstance(HashEncoder(), CompressingEncoder)
    for name in ("maxsim", "likelihood"):
        assert isinstance(RERANKERS.resolve(name)(encoder, ""), Reranker)
    assert MaxSim.needs_vectors and Likelihood.needs_vectors


def test_json_output_keeps_the_reranker_as_a_leg(index: Path, encoder: LbrEncoder):
    """Dense and lexical are always there, null where a leg did not find the document."""
    from lbr_search.cli.render import hit_json

    config = SearchConfig(mode="dense", rerank="maxsim")
    hit = Searcher.open(index, encoder=encoder, config=config).search("aspirin", k=1)[0]
    legs = json.loads(json.dumps(hit_json(hit)))["legs"]
    assert legs["lexical"] is None
    assert set(legs) == {"dense", "lexical", "maxsim"}
    assert set(hit_json(replace(hit, legs={}))["legs"]) == {"dense", "lexical"}
