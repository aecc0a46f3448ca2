"""Runs of other systems as arms: the same numbers as our own, and no wrong file measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbr_search.bench.runner import run_bench
from lbr_search.bench.trec_io import read_run, write_run
from lbr_search.errors import ConfigError, CorpusError
from tests.conftest import HashEncoder
from tests.hash_cli import run
from tests.test_cli import write_suite


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write_suite(tmp_path / "notes", "medical")


@pytest.fixture
def runs(suite: Path, tmp_path: Path) -> Path:
    """The runs of lexical and hybrid, as `bench --runs` writes them."""
    folder = tmp_path / "runs"
    run_bench([suite], encoders=[HashEncoder()], home=tmp_path, runs_dir=folder)
    return folder


def test_an_imported_run_has_the_numbers_of_the_arm_that_wrote_it(
    suite: Path, runs: Path, tmp_path: Path
) -> None:
    """Every metric and query; hybrid is compared with it; costs are null; nothing is encoded."""
    encoder = HashEncoder()
    given = [f"old={runs}/{{suite}}.lexical.trec"]
    found = run_bench([suite], encoders=[encoder], home=tmp_path, imported=given)
    arms = found.suites["notes"].arms
    assert list(arms) == ["lexical", "dense", "hybrid", "old"]
    assert arms["old"].evaluation == arms["lexical"].evaluation
    assert arms["old"].first_hits == arms["lexical"].first_hits
    assert ("hybrid", "old") in found.suites["notes"].comparisons
    written = found.to_json()["suites"]["notes"]["arms"]["old"]
    measured = found.to_json()["suites"]["notes"]["arms"]["lexical"]
    assert written.keys() == measured.keys()
    assert (written["seconds"], written["queries_per_s"]) == (None, None)
    assert written["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    fresh = HashEncoder()
    both = [*given, f"new={runs}/notes.hybrid.trec"]
    alone = run_bench([suite], modes=(), encoders=[fresh], home=tmp_path, imported=both)
    assert list(alone.suites["notes"].comparisons) == [("new", "old")]
    assert fresh.n_encoded == 0


def test_runs_of_other_queries_are_refused_with_the_difference(
    suite: Path, runs: Path, tmp_path: Path
) -> None:
    """A query too few and one too many are named, before anything is encoded."""
    file = runs / "notes.lexical.trec"
    hits = read_run(file)
    hits["stranger"] = hits.pop("q1")
    write_run(hits, file, system="other")
    encoder = HashEncoder()
    with pytest.raises(CorpusError, match="it has 3, the suite 3, 2 of them in common") as error:
        run_bench([suite], encoders=[encoder], home=tmp_path / "new", imported=[f"old={file}"])
    assert "not in the file: q1" in str(error.value)
    assert "not in the suite: stranger" in str(error.value)
    assert encoder.n_encoded == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q0 Q0 d9 9 nan x", r"notes.lexical.trec:\d+: the score is nan"),
        ("q0 Q0 d9 9 inf x", "the score is inf"),
        ("q0 Q0 medical-0 9 0.1 x", "document medical-0 stands twice for query q0"),
        ("q0 Q0 d9 0.1 x", "5 columns, 6 expected"),
        ("q0 Q0 d9 9 best x", "'best' is not a number"),
    ],
)
def test_broken_lines_are_refused(suite, runs, tmp_path, line: str, message: str) -> None:
    """NaN, infinity, a repeated document, a missing column, a word for a score: all refused."""
    file = runs / "notes.lexical.trec"
    with file.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(CorpusError, match=message):
        run_bench([suite], modes=(), home=tmp_path, imported=[f"old={file}"])


def test_odd_runs_are_measured_and_said(suite: Path, runs: Path, tmp_path: Path) -> None:
    """Unsorted lines, unknown documents and long lists are counted; the scores decide."""
    file = runs / "notes.lexical.trec"
    before = run_bench([suite], modes=(), home=tmp_path, imported=[f"old={file}"])
    assert before.warnings == []
    lines = file.read_text().splitlines()
    lines += [f"q2 Q0 ghost{n} 9 {-1 - n} x" for n in range(120)]
    file.write_text("\n".join([*reversed(lines)]))
    after = run_bench([suite], modes=(), home=tmp_path, imported=[f"old={file}"])
    one, other = (r.suites["notes"].arms["old"].evaluation for r in (before, after))
    assert one.per_query["ndcg@10"] == other.per_query["ndcg@10"]
    assert one.per_query["ap"] == other.per_query["ap"]
    text = " ".join(after.warnings)
    assert "120 of " in text and "not in the corpus" in text
    assert "the lines of 1 of 3 queries are not in the order of their scores" in text
    assert "1 queries have over 100 hits" in text


def test_wrong_options_are_refused(suite: Path, runs: Path, tmp_path: Path) -> None:
    """No NAME=FILE, the same name twice, one file for two suites, the name of an arm, no file."""
    file = runs / "notes.lexical.trec"
    other = write_suite(tmp_path / "more", "medical")
    for imported, suites, message in (
        (["old"], [suite], "is not NAME=FILE"),
        ([f"a={file}", f"a={file}"], [suite], "is not NAME=FILE with a new NAME"),
        ([f"a={file}"], [suite, other], "one file for 2 suites: notes, more"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_bench(suites, modes=(), home=tmp_path, imported=imported)
    with pytest.raises(ConfigError, match="has the name of an arm"):
        run_bench([suite], encoders=[HashEncoder()], home=tmp_path, imported=[f"dense={file}"])
    with pytest.raises(CorpusError, match="does not exist"):
        run_bench([suite], modes=(), home=tmp_path, imported=["a=no.trec"])
    with pytest.raises(ConfigError, match="modes"):
        run_bench([suite], modes=(), home=tmp_path)


def test_the_command_measures_runs_alone(suite: Path, runs: Path, tmp_path: Path) -> None:
    """`--mode none --run A=... --run B=...` prints both arms and their difference, and no cost."""
    given = [f"--run={name}={runs}/{{suite}}.{name}.trec" for name in ("lexical", "hybrid")]
    outcome = run("--home", tmp_path, "bench", suite, "--mode", "none", *given)
    assert outcome.code == 0, outcome.err
    assert "hybrid - lexical" in outcome.out and "not shown" in outcome.out
    assert "documents/s" not in outcome.out
