"""The lexical leg: BM25 scores equal to bm25s, files that it can open, filters, ties, bad input."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import bm25s
import numpy as np
import pytest

from lbr_search.errors import ConfigError, IndexFormatError
from lbr_search.index import lexical
from lbr_search.index.analysis import ANALYSERS, VERSIONS
from lbr_search.index.lexical import LexicalIndex
from lbr_search.types import Expansion, passage_text

WORDS = [f"{stem}{end}" for stem in ("carbon", "sort", "heal", "bind", "list") for end in "abcdefg"]


def passages(n: int, seed: int = 0) -> list[str]:
    """Texts of 0 to 30 words, frequent words more often, as language has it."""
    generator = np.random.default_rng(seed)
    chance = 1 / np.arange(1, len(WORDS) + 1)
    chance /= chance.sum()
    return [
        " ".join(generator.choice(WORDS, generator.integers(0, 31), p=chance)) for _ in range(n)
    ]


def build(folder: Path, texts, ids=None, *, analyser="english", size=70) -> LexicalIndex:
    ids = np.arange(len(texts), dtype=np.int64) if ids is None else ids
    batches = [(ids[at : at + size], texts[at : at + size]) for at in range(0, len(texts), size)]
    index = LexicalIndex()
    index.build(batches, analyser=analyser, folder=folder)
    return index


def peer_scores(texts, query, analyser="english") -> np.ndarray:
    """All scores by bm25s itself, over the same terms."""
    analyse = ANALYSERS[analyser]
    peer = bm25s.BM25(k1=1.2, b=0.75)
    peer.index([analyse(text) for text in texts], show_progress=False)
    terms = analyse(query)
    return peer.get_scores(terms) if terms else np.zeros(len(texts), dtype=np.float32)


@pytest.mark.parametrize("block", [4_096, 7])
@pytest.mark.parametrize("analyser", list(ANALYSERS))
def test_scores_equal_bm25s(tmp_path, monkeypatch, analyser, block):
    """Every score is the peer's bit for bit, whatever the size of blocks and batches."""
    monkeypatch.setattr(lexical, "BLOCK_PASSAGES", block)
    texts = [*passages(200), "readFile(max_size) of IL-6", "2,4-dinitrophenol"]
    index = build(tmp_path, texts, analyser=analyser)
    for query in ("carbona sortb heald", "lista lista unknown", "read IL-6", "dinitrobenzene 2"):
        wanted = peer_scores(texts, query, analyser)
        rows, scores = index.search([query], k=len(texts))
        found = np.zeros(len(texts), dtype=np.float32)
        found[rows[0][rows[0] >= 0]] = scores[0][rows[0] >= 0]
        np.testing.assert_array_equal(found, wanted)


def test_bm25s_opens_the_files(tmp_path):
    """The folder is a bm25s index: loaded there it scores the same."""
    texts = passages(150)
    build(tmp_path, texts)
    peer = bm25s.BM25.load(tmp_path, mmap=True, show_progress=False)
    for query in ("carbona", "healb sortc lista"):
        terms = ANALYSERS["english"](query)
        np.testing.assert_array_equal(peer.get_scores(terms), peer_scores(texts, query))


@pytest.mark.parametrize("k", [1, 7, 500])
def test_order_and_ties(tmp_path, k):
    """Score descending, ties by row id ascending, only rows that match, for any k."""
    texts = passages(400) * 3  # every passage three times: ties everywhere
    ids = np.random.default_rng(1).permutation(1_200).astype(np.int64) * 5
    index = build(tmp_path, texts, ids)
    query = "sortd bindc"
    wanted = sorted(
        (-score, row)
        for score, row in zip(peer_scores(texts, query), ids, strict=True)
        if score > 0
    )[:k]
    rows, scores = index.search([query], k=k)
    assert rows.shape == scores.shape == (1, k)
    assert rows[0][: len(wanted)].tolist() == [row for _, row in wanted]
    np.testing.assert_array_equal(scores[0][: len(wanted)], [-negative for negative, _ in wanted])
    assert (rows[0][len(wanted) :] == -1).all()
    assert np.isneginf(scores[0][len(wanted) :]).all()


def test_queries_without_a_known_term_find_nothing(tmp_path):
    """Unknown words, stop words and nothing at all give no rows, beside one that does."""
    index = build(tmp_path, passages(50))
    rows, scores = index.search(["zebra", "the of", "", "carbona"], k=3)
    assert (rows[:3] == -1).all()
    assert np.isneginf(scores[:3]).all()
    assert (rows[3] >= 0).all()
    assert index.search([], k=3)[0].shape == (0, 3)


def test_allowed_filters_before_ranking(tmp_path):
    """k allowed rows come back although better ones are not allowed, with unchanged scores."""
    texts = passages(200)
    ids = np.arange(200, dtype=np.int64) * 2 + 1
    index = build(tmp_path, texts, ids)
    every, scores = index.search(["carbona listb"], k=200)
    allowed = np.sort(np.append(every[0][5:40:2], [2, 10_000]))
    rows, found = index.search(["carbona listb"], k=10, allowed=allowed)
    assert rows[0].tolist() == every[0][5:25:2].tolist()
    np.testing.assert_array_equal(found[0], scores[0][5:25:2])
    assert (index.search(["carbona"], k=2, allowed=np.empty(0, np.int64))[0] == -1).all()


@pytest.mark.parametrize("texts", [[], ["one passage"], ["", "the of"]])
def test_small_and_empty_indexes(tmp_path, texts):
    """No passage, one passage, passages without a term: built, opened, searched."""
    build(tmp_path, texts)
    index = LexicalIndex()
    index.open(tmp_path)
    rows, _ = index.search(["passage"], k=2)
    assert rows.tolist() == [[0, -1]] if texts == ["one passage"] else [[-1, -1]]


def test_reopened_equals_built(tmp_path):
    """A reopened index gives the same bits and keeps its analyser."""
    texts = [*passages(90), "openFile"]
    built = build(tmp_path, texts, analyser="code")
    opened = LexicalIndex()
    opened.open(tmp_path)
    for query in ("carbona", "file"):
        for a, b in zip(built.search([query], k=9), opened.search([query], k=9), strict=True):
            np.testing.assert_array_equal(a, b)
    assert opened.search(["file"], k=1)[0].tolist() == [[90]]
    assert opened.matched_terms("file", "an openFile") == [(3, 11)]


def test_abbreviations_that_the_corpus_defines(tmp_path):
    """A query with one also finds passages that write it out; the weight is that of its terms."""
    texts = ["chronic obstructive pulmonary disease (COPD)", "an obstructive lung", "a heart"]
    index = build(tmp_path, texts, analyser="medical")
    added = index.expansions("COPD therapy")
    assert [(e.source, e.matched, e.added) for e in added] == [
        ("abbreviation", "COPD", "chronic obstructive pulmonary disease")
    ]
    rows, scores = index.search(["COPD"], k=3)
    assert rows.tolist() == [[0, 1, -1]]
    plain = peer_scores(texts, "obstructive", "medical")[1]
    assert scores[0][1] == pytest.approx(lexical.ABBREVIATION_WEIGHT * plain, rel=1e-6)
    assert build(tmp_path / "e", texts).expansions("COPD") == []


def test_expansions_count_once_and_not_twice(tmp_path):
    """Added terms have their weight, the largest of several; a term of the query keeps its own."""
    index = build(tmp_path, ["red blood", "blue sky", "red sky"])
    weak, strong = Expansion("x", "a", "blue sky", 0.25), Expansion("x", "a", "blue", 0.5)
    _, alone = index.search(["sky"], k=3)
    rows, both = index.search(["sky"], k=3, expansions=[[weak, strong]])
    _, blue = index.search(["blue"], k=1)
    assert rows[0].tolist() == [1, 2, -1]
    assert both[0][1] == alone[0][1]
    assert both[0][0] == pytest.approx(alone[0][0] + 0.5 * blue[0][0], rel=1e-6)


def test_terms_of_another_version_are_refused(tmp_path, monkeypatch):
    """An index whose analyser has changed since is not searched with the new one."""
    build(tmp_path, ["readFile"], analyser="code")
    monkeypatch.setitem(VERSIONS, "code", 99)
    with pytest.raises(IndexFormatError, match=r"code-2\n.*code-99"):
        LexicalIndex().open(tmp_path)


def test_row_ids_and_passages_must_fit(tmp_path):
    """A row id given twice and a batch of unequal halves are refused; so is a wrong analyser."""
    with pytest.raises(IndexFormatError, match="row id 3 stands twice"):
        build(tmp_path / "a", ["x1", "y1"], np.array([3, 3]))
    with pytest.raises(IndexFormatError, match="passages  1"):
        LexicalIndex().build([(np.array([1, 2]), ["x"])], analyser="english", folder=tmp_path)
    with pytest.raises(ConfigError, match="use english"):
        build(tmp_path / "b", ["x1"], analyser="englisch")
    with pytest.raises(IndexFormatError):
        LexicalIndex().open(tmp_path / "a")


def test_damaged_files_are_refused(tmp_path):
    """Each file, cut in half, is an error with a fix; no file holds a pickle."""
    build(tmp_path, passages(90))
    files = sorted(tmp_path.iterdir())
    assert {file.suffix for file in files} == {".npy", ".json"}
    for file in files:
        if file.name == lexical.PARAMETERS_FILE:  # read by bm25s alone
            json.loads(file.read_text("utf-8"))
            continue
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(IndexFormatError, match="fix: lbr-search index verify"):
            LexicalIndex().open(tmp_path)
        file.write_bytes(content)
    for file in tmp_path.glob("*.npy"):
        np.load(file, allow_pickle=False)


def test_threads_read_together(tmp_path):
    """Eight threads get the answers of one."""
    index = build(tmp_path, passages(300))
    wanted = index.search(WORDS, k=20)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(index.search(WORDS, k=20))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for rows, scores in found:
        np.testing.assert_array_equal(rows, wanted[0])
        np.testing.assert_array_equal(scores, wanted[1])


@pytest.mark.corpora
@pytest.mark.parametrize("suite", ["code/mbpp", "chemistry/chebi-synonyms"])
def test_real_suites_score_as_bm25s_does(tmp_path, corpora, suite):
    """On a real suite every score of 60 queries is bm25s's own with the same analyser."""
    from lbr_search.corpus.suite import load_suite

    loaded = load_suite(corpora / "suites" / suite, split="dev", home=tmp_path)
    texts = [passage_text(document.title, document.text) for document in loaded.documents()]
    analyse = ANALYSERS[loaded.domain]
    index = build(tmp_path / "index", texts, analyser=loaded.domain, size=500)
    peer = bm25s.BM25(k1=1.2, b=0.75)
    peer.index([analyse(text) for text in texts], show_progress=False)
    for query in loaded.queries[:60]:
        rows, scores = index.search([query.text], k=10)
        terms = analyse(query.text)
        wanted = np.sort(peer.get_scores(terms))[::-1][:10]
        found = np.where(rows[0] >= 0, scores[0], 0)
        np.testing.assert_array_equal(found, wanted)
