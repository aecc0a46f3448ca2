"""The package's front door: lazy names, and the three examples run as a reader would run them."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import lbr_search
from tests.hash_cli import hash_encoders

EXAMPLES = Path(__file__).parent / "examples"
HEAVY = ("torch", "transformers", "faiss", "lancedb", "pyarrow", "bm25s", "numpy")


@pytest.fixture
def run_example(monkeypatch, capsys):
    """Run an example with arguments; gives what it printed."""

    def run(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with hash_encoders():
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A BEIR folder of three documents and two queries."""
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    documents = [("a", "aspirin thins blood"), ("b", "acids donate protons"), ("c", "sort a list")]
    rows = [json.dumps({"_id": i, "title": f"note {i}", "text": text}) for i, text in documents]
    (folder / "corpus.jsonl").write_text("\n".join(rows) + "\n")
    queries = [json.dumps({"_id": f"q{i}", "text": text}) for i, text in documents[:2]]
    (folder / "queries.jsonl").write_text("\n".join(queries) + "\n")
    judged = "query-id\tcorpus-id\tscore\nqa\ta\t1\nqb\tb\t1\n"
    (folder / "qrels" / "test.tsv").write_text(judged)
    return folder


def test_encode_prints_a_score_for_each_passage(run_example):
    lines = run_example("encode.py", "hash:a").splitlines()
    assert [line.split()[1] for line in lines] == ["aspirin", "sorted"]
    assert all(-1 <= float(line.split()[0]) <= 1 for line in lines)


def test_build_and_search_finds_the_document_that_was_asked_for(run_example, suite, tmp_path):
    out = run_example("build_and_search.py", suite, tmp_path / "i", "thins blood", "hash:a")
    first, best, *_ = out.splitlines()
    assert first.startswith("3 documents, 3 chunks in ")
    assert best.split()[0] == "1" and best.split()[2] == "a"


def test_bench_measures_every_arm(run_example, suite, tmp_path):
    lines = run_example("bench.py", suite, tmp_path, "hash:a").splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["small", arm] for arm in ("lexical", "dense", "hybrid")
    ]
    assert all(line.endswith("nDCG@10 1.000") for line in lines)


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_are_short(example):
    assert len(example.read_text().splitlines()) <= 40


def test_every_public_name_resolves_and_no_other():
    for name in lbr_search.__all__:
        assert getattr(lbr_search, name) is not None
    with pytest.raises(AttributeError, match="nothing_here"):
        lbr_search.nothing_here  # noqa: B018 - the access is what is tested


def test_importing_the_package_imports_nothing_heavy():
    code = f"import lbr_search, sys; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
