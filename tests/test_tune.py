"""Tuning: what is chosen, what it is worth, what search reads of it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lbr_search.bench.metrics import evaluate
from lbr_search.bench.tune import FOLDS, folds_of, nested, settings_grid, tune
from lbr_search.config import FUSIONS, SearchConfig
from lbr_search.corpus.suite import load_suite
from lbr_search.errors import ConfigError, CorpusError
from lbr_search.index.info import index_info
from lbr_search.index.tuned import TUNED_FILE, Evidence, Tuned, read_tuned, write_tuned
from lbr_search.index.verify import verify_index
from lbr_search.ingest import build_index
from lbr_search.search.searcher import Searcher
from lbr_search.search.settings import SHORT_WEIGHT
from tests.conftest import HashEncoder
from tests.hash_cli import run

N_DOCUMENTS = 40


UNTUNED = SearchConfig(dense_weight=SHORT_WEIGHT)
"""Settings of an index of short texts that nobody tuned."""


def write_suite(folder: Path, *, n_dev: int = 30, shared: bool = False) -> Path:
    """Notes whose words BM25 tells apart and the blind encoder does not; dev and test queries."""
    (folder / "qrels").mkdir(parents=True)
    rows = [
        {"_id": f"d{n}", "title": "", "text": f"alpha{n} common words beta{n % 7} gamma{n % 5}"}
        for n in range(N_DOCUMENTS)
    ]
    queries = [{"_id": f"q{n}", "text": f"beta{n % 7} gamma{n % 5}"} for n in range(N_DOCUMENTS)]
    for name, lines in (("corpus", rows), ("queries", queries)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    first_test = 0 if shared else n_dev
    for split, numbers in (("dev", range(n_dev)), ("test", range(first_test, N_DOCUMENTS))):
        judged = "".join(f"q{n}\td{n}\t1\n" for n in numbers)
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


class BlindEncoder(HashEncoder):
    """Sees the first word alone, which queries and documents do not share."""

    def encode_passages(self, texts, *, report=None):
        return super().encode_passages([text.split()[0] for text in texts], report=report)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write_suite(tmp_path / "suites" / "notes")


@pytest.fixture
def index(tmp_path: Path, suite: Path) -> Path:
    build_index([str(suite)], tmp_path / "index", encoder=BlindEncoder(salt="blind"))
    return tmp_path / "index"


def blind() -> BlindEncoder:
    return BlindEncoder(salt="blind")


def test_a_useless_dense_leg_loses_its_weight(index: Path, suite: Path):
    """Lexical alone ranks best here, so less dense weight is chosen, and the file says it."""
    result = tune(index, [suite], encoder=blind())
    assert result.is_changed
    assert result.tuned.fusion == "rrf" or result.tuned.dense_weight < 0.5
    means = result.means["notes"]
    assert means["default"] < means["held out"] <= means["chosen"]
    assert read_tuned(index) == result.tuned
    assert result.tuned.evidence.n_queries == 30
    assert (index / TUNED_FILE) == result.path


def test_search_reads_what_tune_wrote(index: Path, suite: Path):
    """The searcher reaches the very nDCG@10 that the grid promised for the chosen settings."""
    result = tune(index, [suite], encoder=blind())
    loaded = load_suite(suite, split="dev", home=Path())
    searcher = Searcher.open(index, encoder=blind())
    rankings = searcher.rank_documents([query.text for query in loaded.queries], k=10)
    found = {q.query_id: dict(r) for q, r in zip(loaded.queries, rankings, strict=True)}
    measured = evaluate(found, loaded.qrels).means["ndcg@10"]
    assert measured == pytest.approx(result.means["notes"]["chosen"])
    plain = Searcher.open(index, encoder=blind(), config=SearchConfig())
    rankings = plain.rank_documents([query.text for query in loaded.queries], k=10)
    found = {q.query_id: dict(r) for q, r in zip(loaded.queries, rankings, strict=True)}
    measured = evaluate(found, loaded.qrels).means["ndcg@10"]
    assert measured == pytest.approx(result.means["notes"]["default"])


def test_nested_choices_by_hand():
    """Each fold is measured under what the other folds like best, never under its own choice."""
    values = np.zeros((2, 10))
    folds = np.arange(10) % FOLDS
    values[0, folds == 0] = 1.0  # setting 0 is right for fold 0 alone
    values[1, folds == 1] = 0.9  # setting 1 for fold 1 alone
    choices, held_out = nested({"s": values}, {"s": folds})
    assert choices == [1, 0, 0, 0, 0]
    assert held_out["s"].sum() == 0.0


def test_suites_weigh_the_same_whatever_their_size():
    """Two queries that gain .5 outweigh twenty that lose .4."""
    small, large = np.zeros((2, 5)), np.zeros((2, 50))
    small[1], large[0] = 0.5, 0.4
    folds = {"small": folds_of(5), "large": folds_of(50)}
    choices, _ = nested({"small": small, "large": large}, folds)
    assert choices == [1] * FOLDS


def test_folds_are_even_and_the_same_each_time():
    folds = folds_of(23)
    assert sorted(np.bincount(folds).tolist()) == [4, 4, 5, 5, 5]
    assert np.array_equal(folds, folds_of(23))


def test_the_grid_begins_with_the_default_and_holds_every_fusion():
    grid = settings_grid(SearchConfig(rerank="maxsim"))
    assert grid[0] == SearchConfig(rerank="maxsim")
    assert len(set(grid)) == len(grid)
    assert {config.fusion for config in grid} == set(FUSIONS)
    assert len({config.rerank_weight for config in settings_grid(SearchConfig())}) == 1


def test_where_no_choice_is_better_the_defaults_are_written(tmp_path: Path):
    """Every setting finds every document first: nothing to gain, so nothing is changed."""
    folder = tmp_path / "suites" / "plain"
    write_suite(folder)
    queries = [{"_id": f"q{n}", "text": f"alpha{n}"} for n in range(N_DOCUMENTS)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    build_index([str(folder)], tmp_path / "index", encoder=HashEncoder(dim=4096))
    result = tune(tmp_path / "index", [folder], encoder=HashEncoder(dim=4096))
    assert not result.is_changed
    assert (result.tuned.fusion, result.tuned.dense_weight) == ("convex", SHORT_WEIGHT)


def test_test_splits_are_refused_under_any_name(tmp_path: Path, index: Path, suite: Path):
    """By name, and where a dev split repeats test queries."""
    with pytest.raises(ConfigError, match="for reporting"):
        tune(index, [suite], split="test", encoder=blind())
    with pytest.raises(ConfigError, match="for reporting"):
        tune(index, [suite], split="Test-2", encoder=blind())
    leaky = write_suite(tmp_path / "suites" / "leaky", shared=True)
    with pytest.raises(ConfigError, match=r"30 of 30 queries of leaky.*test queries too"):
        tune(index, [leaky], encoder=blind())
    assert not (index / TUNED_FILE).exists()


def test_too_few_queries_and_a_foreign_suite_are_refused(tmp_path: Path, index: Path):
    few = write_suite(tmp_path / "suites" / "few", n_dev=5)
    with pytest.raises(ConfigError, match="5 queries are too few"):
        tune(index, [few], encoder=blind())
    other = write_suite(tmp_path / "suites" / "other")
    judged = (other / "qrels" / "dev.tsv").read_text().replace("\td", "\tx")
    (other / "qrels" / "dev.tsv").write_text(judged)
    with pytest.raises(CorpusError, match="none of the 30 judged documents of other"):
        tune(index, [other], encoder=blind())
    with pytest.raises(CorpusError, match="no suite"):
        tune(index, [], encoder=blind())


def tuned(encoder: str, **settings) -> Tuned:
    evidence = Evidence(("s",), "dev", 30, encoder, 0.6, 0.5, 0.01, 5, "", "0", "now")
    return Tuned(
        **({"fusion": "dbsf", "dense_weight": 0.2, "rrf_k": 60} | settings),
        evidence=evidence,
        rerank_weight={"maxsim": 0.3},
    )


def test_given_settings_come_before_tuned_ones(index: Path):
    """By name; a whole `SearchConfig` is taken as it is."""
    write_tuned(index, tuned(blind().fingerprint))
    opened = {
        "tuned": Searcher.open(index, encoder=blind()),
        "named": Searcher.open(index, encoder=blind(), config={"dense_weight": 1, "mode": "dense"}),
        "whole": Searcher.open(index, encoder=blind(), config=SearchConfig()),
    }
    configs = {
        name: next(iter(searcher._sources.values())).settings.config
        for name, searcher in opened.items()
    }
    assert (configs["tuned"].fusion, configs["tuned"].dense_weight) == ("dbsf", 0.2)
    assert (configs["named"].fusion, configs["named"].dense_weight) == ("dbsf", 1.0)
    assert configs["named"].mode == "dense"
    assert configs["whole"] == UNTUNED
    (why,) = opened["tuned"].explain("beta1", opened["tuned"].search("beta1", k=1))
    assert "fused by dbsf, dense weight 0.2 (tuned on s, dev, 30 queries" in "\n".join(why.lines())


def test_a_rerankers_weight_is_read_by_its_name():
    config = SearchConfig(rerank="maxsim")
    assert tuned("x").apply(config).rerank_weight == 0.3
    assert tuned("x").apply(SearchConfig(rerank="likelihood")).rerank_weight == 0.5


def test_settings_of_another_encoder_are_left_out_and_said(index: Path):
    write_tuned(index, tuned("another"))
    searcher = Searcher.open(index, encoder=blind())
    assert next(iter(searcher._sources.values())).settings.config == UNTUNED
    (warning,) = searcher.warnings
    assert "another encoder" in warning and "lbr-search tune" in warning


WHOLE = """[evidence]
suites = ["s"]
split = "dev"
n_queries = 30
encoder = "e"
estimate = 0.6
default = 0.5
p_value = 0.1
n_folds = 5
rerank = ""
version = "0"
created = "now"
[rerank_weight]
"""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("not toml", "is not valid TOML"),
        ('[search]\nfusion = "magic"\n', "fusion = 'magic' is out of range"),
        ('[search]\nfusion = "rrf"\n', "evidence lacks suites, split"),
        ("[search]\ndense_weight = 7.0\n", "dense_weight"),
        ("[search]\nweight = 1.0\n", "unknown key"),
        ("[serch]\n", "unknown sections serch"),
        ("search = 1\n", "not a section"),
        (WHOLE + "maxsim = 2.0\n", r"rerank_weight\.maxsim = 2\.0 is out of range"),
        (WHOLE + "maxsim = true\n", r"rerank_weight\.maxsim = True is out of range"),
    ],
)
def test_a_damaged_file_is_an_error_with_a_way_out(index: Path, content: str, says: str):
    """Nothing of it is used in silence."""
    (index / TUNED_FILE).write_text(content)
    with pytest.raises(ConfigError, match=says) as refused:
        Searcher.open(index, encoder=blind())
    assert TUNED_FILE in str(refused.value)


def test_an_index_says_that_it_is_tuned(index: Path):
    """In `index info`; the file is no part of what was published, so `verify` does not mind it."""
    assert index_info(index)["search"] == {}
    write_tuned(index, tuned(blind().fingerprint))
    assert index_info(index)["search"]["fusion"] == "dbsf"
    assert verify_index(index).problems == []


def test_the_command_writes_and_query_reads(tmp_path: Path, suite: Path):
    """From the shell: the table, the file, and an option that comes before it."""
    index = tmp_path / "index"
    run("ingest", suite, "--index", index, "--encoder", "hash:a")
    done = run("tune", index, "--suite", suite, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["means"]["notes"]["default"] <= 1 and len(told["by_fold"]) == FOLDS
    assert "search.toml" not in run("query", "beta1", "--index", index, "--explain").err
    shown = run("tune", index, "--suite", suite)
    assert "held out" in shown.out and "settings" in shown.out
    said = run("query", "beta1", "--index", index, "--explain", "--dense-weight", "0.35").out
    assert "dense weight 0.35" in said.replace("\n", " ")
    refused = run("tune", index, "--suite", suite, "--split", "test")
    assert refused.code == 1 and "for reporting" in refused.err
