"""Near-identical hits folded, negative queries, and documents like a document."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lbr_search.config import SearchConfig
from lbr_search.encoder.lbr import LbrEncoder
from lbr_search.errors import ConfigError
from lbr_search.search.hits import SAME, fold, shingles
from lbr_search.search.searcher import Searcher
from lbr_search.types import Document, Hit
from tests.conftest import HashEncoder
from tests.hash_cli import run
from tests.test_multi_vectors import ingest
from tests.test_searcher import build_index_of
from tests.tiny import tiny_encoder

WORDS = " ".join(f"word{n}" for n in range(60))


def hit(rank: int, doc_id: str, text: str) -> Hit:
    return Hit(rank, doc_id, f"{doc_id}#0", 1.0 / rank, "", text, "", "i", row=rank)


def test_folding_by_hand():
    """One changed word of sixty shares 55 of 61 runs of three; of twenty, 15 of 21."""
    nearly = WORDS.replace("word30", "other")
    shared = len(shingles(WORDS) & shingles(nearly)) / len(shingles(WORDS) | shingles(nearly))
    assert shared == pytest.approx(55 / 61) and shared >= SAME
    short = " ".join(WORDS.split()[:20])
    changed = short.replace("word10", "other")
    hits = [hit(1, "a", WORDS), hit(2, "b", short), hit(3, "c", nearly), hit(4, "d", changed)]
    kept = fold(hits)
    assert [(h.doc_id, h.rank, h.folded) for h in kept] == [
        ("a", 1, ("c",)),
        ("b", 2, ()),
        ("d", 3, ()),
    ]
    assert [h.score for h in kept] == [1.0, 0.5, 0.25]


def test_short_and_empty_texts_fold_only_with_their_equals():
    kept = fold([hit(1, "a", "Two words"), hit(2, "b", "two  words."), hit(3, "c", "words two")])
    assert [h.doc_id for h in kept] == ["a", "c"]
    assert [h.doc_id for h in fold([hit(1, "a", ""), hit(2, "b", "")])] == ["a"]
    assert fold([]) == []


def copies() -> list[Document]:
    """Twelve copies of one note, then notes of their own."""
    same = [Document(f"copy-{n:02}", f"insulin lowers glucose {WORDS}") for n in range(12)]
    own = [Document(f"own-{n}", f"insulin lowers fever{n} in patient{n}") for n in range(6)]
    return [*same, *own]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_index_of(copies(), tmp_path_factory.mktemp("hits") / "copies", HashEncoder())


def test_folding_still_fills_the_answer(index: Path):
    """Five hits are wanted and the first twelve are one: it is ranked deeper until five stand."""
    folding = Searcher.open(index, encoder=HashEncoder(), config={"is_deduped": True})
    plain = Searcher.open(index, encoder=HashEncoder())
    query = "insulin lowers glucose word3 word4"
    assert all(h.doc_id.startswith("copy") for h in plain.search(query, k=5))
    hits = folding.search(query, k=5)
    assert [h.rank for h in hits] == [1, 2, 3, 4, 5]
    assert len(hits[0].folded) == 11 and hits[0].doc_id not in hits[0].folded
    assert all(h.doc_id.startswith("own") and not h.folded for h in hits[1:])
    assert len(folding.search(query, k=50)) == 7  # fewer than wanted: nothing more is there
    ranked = folding.rank_documents([query, "fever2"], k=5)
    assert ranked[0] == [(h.doc_id, h.score) for h in hits] and len(ranked) == 2


def test_the_command_says_what_it_folded(tmp_path: Path):
    lines = [{"_id": d.doc_id, "text": d.text} for d in copies()]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = tmp_path / "index"
    run("ingest", tmp_path / "notes.jsonl", "--index", folder, "--encoder", "hash:a")
    shown = run("query", "insulin glucose", "--index", folder, "-k", 5, "--dedupe", "--json")
    folded = [len(json.loads(line).get("folded", [])) for line in shown.out.splitlines()]
    assert sorted(folded) == [0, 0, 0, 0, 11]
    assert "note: 11 hits with nearly the same text folded" in shown.err
    table = run("query", "insulin glucose", "--index", folder, "-k", 5, "--dedupe")
    assert "nearly the same: copy-" in table.out.replace("\n", " ")


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_a_negative_takes_its_share_off_each_leg(index: Path, mode: str):
    """By hand: the inner product with q - w n; BM25 of q less w times that of what n adds."""
    config = {"mode": mode, "without_weight": 0.25}
    searcher = Searcher.open(index, encoder=HashEncoder(), config=config)
    query, negative = "insulin lowers fever1", "lowers patient1"
    hits = {h.doc_id: h for h in searcher.search(query, k=18, without=negative)}
    found = hits["own-1"]
    encoder, opened = HashEncoder(), searcher._sources["copies"].opened
    vector = opened.vectors(np.array([found.row]))[0]
    q, n = encoder.encode_queries([query, negative])
    dense = float(vector @ q - 0.25 * (vector @ n))
    (terms,) = opened.term_weights(query, np.array([found.row]))
    (away,) = opened.term_weights("patient1", np.array([found.row]))
    lexical = sum(terms.values()) - 0.25 * sum(away.values())
    expected = {"dense": dense, "lexical": lexical}
    assert {name: leg.score for name, leg in found.legs.items()} == pytest.approx(
        {name: expected[name] for name in found.legs}, abs=1e-5
    )
    (why,) = searcher.explain(query, [found], without=negative)
    off = {"dense": 0.25 * float(vector @ n), "lexical": 0.25 * sum(away.values())}
    assert dict(why.taken_off) == pytest.approx({m: off[m] for m in why.taken_off}, abs=1e-5)
    assert set(why.taken_off) == ({"dense", "lexical"} if mode == "hybrid" else {mode})
    assert any(line.startswith("not 'lowers patient1': ") for line in why.lines())


def test_what_is_not_looked_for_goes_down(index: Path):
    searcher = Searcher.open(index, encoder=HashEncoder())
    query = "insulin lowers fever1 fever2"
    first = searcher.search(query, k=2)
    assert {h.doc_id for h in first} == {"own-1", "own-2"}
    assert searcher.search(query, k=1, without="patient2")[0].doc_id == "own-1"
    assert searcher.search(query, k=1, without="patient1")[0].doc_id == "own-2"
    same = searcher.search(query, k=5, without="   ")
    assert same == searcher.search(query, k=5)


def test_a_reranker_scores_the_negative_too(tmp_path: Path):
    """With weight 1 of the reranker: its score of the query less half of that of the negative."""
    encoder = tiny_encoder(tmp_path / "checkpoint")
    ingest(tmp_path / "index", encoder)
    config = SearchConfig(rerank="maxsim", rerank_weight=1.0, without_weight=0.5)
    searcher = Searcher.open(tmp_path / "index", encoder=encoder, config=config)
    plain = {h.doc_id: h.legs["maxsim"].score for h in searcher.search("aspirin", k=50)}
    other = {h.doc_id: h.legs["maxsim"].score for h in searcher.search("glucose", k=50)}
    for h in searcher.search("aspirin", k=50, without="glucose"):
        expected = plain[h.doc_id] - 0.5 * other[h.doc_id]
        assert h.legs["maxsim"].score == pytest.approx(expected, abs=1e-5)


def test_like_is_the_mean_of_the_documents_own_vectors(index: Path):
    """Nearest first, itself left out; no encoder is called."""
    encoder = HashEncoder()
    searcher = Searcher.open(index, encoder=encoder)
    n_before = encoder.n_encoded
    hits = searcher.like("own-2", k=17)
    assert encoder.n_encoded == n_before
    documents = {d.doc_id: d for d in copies()}
    vectors = dict(zip(documents, _document_vectors(index, documents), strict=True))
    model = vectors["own-2"].mean(axis=0)
    model /= np.linalg.norm(model)
    expected = {d: float((own @ model).max()) for d, own in vectors.items() if d != "own-2"}
    assert {h.doc_id: h.score for h in hits} == pytest.approx(expected, abs=1e-5)
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert all(set(h.legs) == {"dense"} for h in hits)
    lines = "\n".join(searcher.explain("", hits[:1])[0].lines())
    assert "found by dense rank 1" in lines and "fused" not in lines


def _document_vectors(index: Path, documents) -> list[np.ndarray]:
    opened = Searcher.open(index, encoder=HashEncoder())._sources["copies"].opened
    return [opened.vectors(opened.rows_of(doc_id)) for doc_id in documents]


def test_like_searches_every_index_of_its_encoder(tmp_path: Path, index: Path):
    """Another index of the encoder answers too, one of another encoder is left out and named."""
    other = [Document("far-1", "insulin lowers fever2 in patient2"), Document("own-1", "fever")]
    build_index_of(other, tmp_path / "near", HashEncoder())
    build_index_of(other, tmp_path / "foreign", HashEncoder(salt="b"))
    searcher = Searcher.open([index, tmp_path / "near"], encoder=HashEncoder())
    first = searcher.like("own-2", k=1)[0]
    assert (first.doc_id, first.source) == ("far-1", "near")
    assert first.score == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ConfigError, match="several indexes hold a document 'own-1'"):
        searcher.like("own-1")
    config = SearchConfig(mode="lexical")
    mixed = Searcher.open([index, tmp_path / "foreign"], config=config)
    assert {h.source for h in mixed.like("own-2", k=5)} == {"copies"}
    assert any("foreign: left out" in warning for warning in mixed.warnings)


def test_like_refuses_what_it_cannot_do(index: Path, tmp_path: Path):
    searcher = Searcher.open(index, encoder=HashEncoder())
    with pytest.raises(ConfigError, match="no document is called 'nowhere'"):
        searcher.like("nowhere")
    with pytest.raises(ConfigError, match="k = 0"):
        searcher.like("own-1", k=0)
    encoder: LbrEncoder = tiny_encoder(tmp_path / "checkpoint")
    ingest(tmp_path / "index", encoder)
    reranking = Searcher.open(
        tmp_path / "index", encoder=encoder, config=SearchConfig(rerank="maxsim")
    )
    with pytest.raises(ConfigError, match="maxsim compares with a query"):
        reranking.like("d0")


def test_the_command_takes_one_question(index: Path):
    """Two at once, a negative without a text, and a weight out of range are wrong usage."""
    for wrong in (
        ("query", "--index", index),
        ("query", "text", "--like", "own-1", "--index", index),
        ("query", "--like", "own-1", "--not", "x", "--index", index),
    ):
        assert run(*wrong).code == 2
    refused = run("query", "x", "--not", "y", "--not-weight", "0", "--index", index)
    assert refused.code == 1 and "without_weight" in refused.err
    shown = run("query", "--like", "own-1", "--index", index, "-k", 1, "--json")
    assert json.loads(shown.out)["doc_id"].startswith("own-")
    assert run("query", "insulin", "--not", "fever1", "--index", index, "--explain").code == 0
