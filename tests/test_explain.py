"""What an explanation says is what the search did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lbr_search.cli.render import explanation_json
from lbr_search.config import SearchConfig
from lbr_search.index.opened import open_index
from lbr_search.search.explain import without_loop
from lbr_search.search.searcher import Searcher
from tests.conftest import HashEncoder
from tests.hash_cli import run
from tests.test_multi_vectors import ingest
from tests.tiny import tiny_encoder


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    folder = tmp_path_factory.mktemp("explain")
    encoder = tiny_encoder(folder / "checkpoint")
    ingest(folder / "index", encoder)
    config = SearchConfig(dense_weight=0.5, rerank="maxsim", rerank_depth=3)
    return Searcher.open(folder / "index", encoder=encoder, config=config)


def test_the_weights_of_words_sum_to_the_lexical_score(searcher: Searcher):
    """Repeated words count again; a hit without a word of the query has none."""
    query = "aspirin blood blood sort"
    for why in searcher.explain(query, searcher.search(query, k=6)):
        leg = why.hit.legs.get("lexical")
        assert sum(why.terms.values()) == pytest.approx(leg.score if leg else 0.0, abs=1e-5)
        assert list(why.terms.values()) == sorted(why.terms.values(), reverse=True)


def test_what_was_kept_is_written_by_the_decoder(searcher: Searcher):
    """The text comes from the stored vectors of the hit's own chunk, not from its text."""
    hits = searcher.search("glucose", k=2)
    explained = searcher.explain("glucose", hits)
    source = searcher._sources[hits[0].source]
    stored = source.opened.multi_vectors(np.array([hits[1].row]))
    assert explained[1].kept == without_loop(source.encoder.generate(stored, max_tokens=24)[0])
    spared = searcher.explain("glucose", hits, with_kept=False)
    assert [one.kept for one in spared] == [""] * len(hits)


def test_lines_name_legs_words_and_movement(searcher: Searcher):
    """One fact a line; the reranked ones show where they came from."""
    hits = searcher.search("aspirin", k=5)
    lines = searcher.explain("aspirin", hits)[0].lines()
    assert lines[0].startswith("found by dense rank ")
    assert lines[1] == "fused by convex, dense weight 0.5"
    assert "maxsim rank" in lines[0]
    assert any(line.startswith("words and their BM25 weights: aspirin ") for line in lines)
    assert any(line == f"reranked: {hits[0].first_rank} -> 1" for line in lines)
    assert set(explanation_json(searcher.explain("aspirin", hits)[0])) == {
        "fusion",
        "terms",
        "expansions",
        "notes",
        "negative",
        "taken_off",
        "first_rank",
        "kept",
    }


def test_an_index_with_one_vector_a_chunk_keeps_no_text(tmp_path: Path):
    """Without stored vectors the legs and words are explained, and nothing is made up."""
    encoder = tiny_encoder(tmp_path / "checkpoint")
    ingest(tmp_path / "index", encoder, multi_vector=False)
    searcher = Searcher.open(tmp_path / "index", encoder=encoder)
    (why,) = searcher.explain("sort", searcher.search("sort", k=1))
    assert why.kept == ""
    assert not any("vectors kept" in line for line in why.lines())
    assert open_index(tmp_path / "index", encoder=None).term_weights("zzz", np.array([0])) == [{}]


def test_an_invalid_structure_is_said_where_words_are_read(tmp_path: Path):
    """In a chemistry index, by `explain` and by the command; other analysers say nothing."""
    broken = "CC(=O)Oc1ccccc1C(=O"
    rows = "".join(json.dumps({"_id": f"d{n}", "text": f"aspirin note {n}"}) + "\n" for n in (1, 2))
    (tmp_path / "notes.jsonl").write_text(rows)
    source = ("ingest", tmp_path / "notes.jsonl", "--encoder", "hash:a")
    run(*source, "--index", tmp_path / "chem", "--domain", "chemistry")
    run(*source, "--index", tmp_path / "code", "--domain", "code")
    searcher = Searcher.open([tmp_path / "chem", tmp_path / "code"], encoder=HashEncoder())
    query = f"aspirin {broken}"
    for why in searcher.explain(query, searcher.search(query, k=4)):
        is_chemistry = why.hit.source == "chem"
        assert bool(why.notes) == is_chemistry
        said = any(line.startswith(f"{broken} is no SMILES") for line in why.lines())
        assert said == is_chemistry
    assert len(searcher.notes(query)) == 1
    asked = ("query", broken, "--index", tmp_path / "chem", "--mode", "lexical", "--explain")
    nothing = run(*asked)
    assert "no hit" in nothing.out and f"note: {broken} is no SMILES" in nothing.err
