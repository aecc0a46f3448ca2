"""MTEB task results: read as references of the same task alone, written as mteb reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lbr_search.bench.mteb_io import match_references, read_references
from lbr_search.bench.report import markdown_report
from lbr_search.bench.runner import run_bench
from lbr_search.errors import ConfigError
from tests.conftest import HashEncoder
from tests.hash_cli import run

SUITE = Path(__file__).parents[1] / "corpora" / "demo" / "medical"


def task_result(**changes: Any) -> dict[str, Any]:
    """As mteb 2.26 writes one."""
    scores = {"ndcg_at_10": 0.64508, "recall_at_100": 0.92533, "main_score": 0.64508}
    subset = {"hf_subset": "default", "languages": ["eng-Latn"], **scores}
    return {
        "dataset_revision": "0228b52",
        "task_name": "SciFact",
        "mteb_version": "2.26.24",
        "scores": {"test": [subset]},
        "evaluation_time": 9.5,
        "kg_co2_emissions": None,
        "date": None,
    } | changes


def write(path: Path, held: object) -> Path:
    path.write_text(json.dumps(held))
    return path


def test_a_result_is_a_reference_of_its_task(tmp_path: Path):
    """System, numbers, and where they are from; the suite is found by the task, not by its name."""
    file = write(tmp_path / "SciFact.json", task_result())
    results = read_references([f"MiniLM={file}"])
    matched = match_references(results, {"nfcorpus": "NFCorpus", "own": "SciFact"}, split="test")
    assert matched["nfcorpus"] == []
    (found,) = matched["own"]
    assert (found.system, found.ndcg_10, found.recall_100) == ("MiniLM", 0.64508, 0.92533)
    assert found.source == "SciFact.json: MTEB task SciFact, revision 0228b52"


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([], "it holds a list"),
        (task_result(task_name=None), "no task_name"),
        (task_result(scores=[1]), "its scores are not split"),
        (task_result(scores={"test": {"en": {}}}), "its scores are not split"),
        (task_result(task_name="NFCorpus"), "is of the task 'NFCorpus', which is none of: scifact"),
        (task_result(scores={"dev": [{}]}), r"no split 'test' .*it has: dev \(1 subsets\)"),
        (task_result(scores={"test": [{}, {}]}), "has no split 'test' of one subset"),
        (task_result(scores={"test": [{"accuracy": 0.9}]}), "ndcg_at_10 of test is None"),
        (task_result(scores={"test": [{"ndcg_at_10": 64.5}]}), "is 64.5"),
        (task_result(scores={"test": [{"ndcg_at_10": float("nan")}]}), "is nan"),
    ],
)
def test_what_is_no_result_of_the_suite_is_refused(tmp_path: Path, held: object, message: str):
    file = write(tmp_path / "x.json", held)
    with pytest.raises(ConfigError, match=message):
        match_references(read_references([f"e5={file}"]), {"scifact": "SciFact"}, split="test")


@pytest.mark.parametrize("value", ["e5", "=x.json", "e5=", "e5=/no/such.json"])
def test_a_reference_is_a_name_and_a_file(value: str):
    with pytest.raises(ConfigError, match=r"NAME=FILE|cannot be read"):
        read_references([value])


def test_bench_shows_the_numbers_of_others_and_writes_ours(tmp_path: Path):
    """Shown with their source and compared with nothing; ours have MTEB's keys and read back."""
    file = write(tmp_path / "r.json", task_result(task_name="medical"))
    command = ("bench", SUITE, "--encoder", "hash:a", "--reference", f"other={file}")
    outcome = run("--home", tmp_path, *command, "--mteb", tmp_path / "mteb", "--mode", "lexical")
    assert outcome.code == 0, outcome.err
    assert "MTEB task medical" in " ".join(outcome.out.split()) and "0.645" in outcome.out
    (written,) = (tmp_path / "mteb").rglob("*.json")
    assert written.relative_to(tmp_path / "mteb") == Path("lexical/medical.json")
    held = json.loads(written.read_text())
    assert held.keys() == task_result().keys() - {"date"}
    (subset,) = held["scores"]["test"]
    assert subset["main_score"] == subset["ndcg_at_10"] > 0
    assert {"map_at_100", "mrr_at_10", "recall_at_100", "hit_rate_at_10"} <= subset.keys()
    again = read_references([f"us={written}"])
    assert match_references(again, {"medical": "medical"}, split="test")["medical"][0].ndcg_10 > 0


def test_a_wrong_reference_costs_no_work(tmp_path: Path):
    """It is refused before anything is encoded."""
    file, encoder = write(tmp_path / "r.json", task_result()), HashEncoder()
    with pytest.raises(ConfigError, match="which is none of: medical"):
        run_bench([SUITE], encoders=[encoder], home=tmp_path, references=[f"x={file}"])
    assert encoder.n_encoded == 0


def test_mteb_itself_reads_what_we_write(tmp_path: Path):
    """Skipped where mteb is not installed: it needs packages that this project does not."""
    results = pytest.importorskip("mteb.results", reason="mteb is not installed")
    run_bench([SUITE], encoders=[HashEncoder()], home=tmp_path, mteb_dir=tmp_path / "mteb")
    files = sorted((tmp_path / "mteb").rglob("*.json"))
    assert len(files) == 3
    for file in files:
        found = results.TaskResult.from_disk(file, load_historic_data=False)
        assert found.task_name == "medical" and 0 < found.get_score() <= 1


def test_the_report_names_no_reference_where_there_is_none(tmp_path: Path):
    result = run_bench([SUITE], encoders=[HashEncoder()], home=tmp_path, modes=["lexical"])
    assert "MTEB task" not in markdown_report(result)
