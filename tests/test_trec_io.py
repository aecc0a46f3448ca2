"""TREC files: what is written reads back the same; what the format cannot hold is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbr_search.bench.trec_io import read_qrels, read_run, write_qrels, write_run
from lbr_search.errors import CorpusError


@pytest.mark.parametrize("name", ["a.trec", "deep/a.trec.gz"])
def test_a_run_reads_back_the_same(name: str, tmp_path: Path) -> None:
    """Scores survive exactly, also in gzip and in a new folder."""
    run = {"q1": {"a": 0.1 + 0.2, "b": -1e-30}, "q2": {"a": 12345.678901234567}}
    write_run(run, tmp_path / name, system="hybrid")
    assert read_run(tmp_path / name) == run
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == [Path(name).name]


def test_the_lines_are_what_trec_eval_reads(tmp_path: Path) -> None:
    """Six columns, ranks from 1, best first, ties by doc id descending."""
    write_run({"q": {"a": 1.0, "c": 1.0, "b": 2.5}}, tmp_path / "r", system="bm25")
    assert (tmp_path / "r").read_text() == (
        "q Q0 b 1 2.5 bm25\nq Q0 c 2 1.0 bm25\nq Q0 a 3 1.0 bm25\n"
    )
    write_qrels({"q": {"a": 2, "b": 0}}, tmp_path / "q")
    assert (tmp_path / "q").read_text() == "q 0 a 2\nq 0 b 0\n"


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    """A compressed run holds no time stamp."""
    for name in ("a.gz", "b.gz"):
        write_run({"q": {"a": 1.0}}, tmp_path / name, system="s")
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.mark.parametrize("bad", ["two words", "", "tab\there", "line\n"])
def test_ids_that_the_columns_cannot_hold_are_refused(bad: str, tmp_path: Path) -> None:
    """White space in a query id, doc id or system name is an error, and nothing is written."""
    target = tmp_path / "r"
    for run, system in (
        ({bad: {"a": 1.0}}, "s"),
        ({"q": {bad: 1.0}}, "s"),
        ({"q": {"a": 1.0}}, bad),
    ):
        with pytest.raises(CorpusError, match="white space"):
            write_run(run, target, system=system)
    with pytest.raises(CorpusError, match="white space"):
        write_qrels({"q": {bad: 1}}, target)
    assert not target.exists()


def test_scores_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    """A NaN has no rank."""
    with pytest.raises(CorpusError, match="score of a for query q is nan"):
        write_run({"q": {"a": float("nan")}}, tmp_path / "r", system="s")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q Q0 a 1 2.0\n", r":1: 5 columns, 6 expected"),
        ("q Q0 a 1 2.0 s\n\nq Q0 a 2 1.0 s\n", r":3: document a stands twice for query q"),
        ("q Q0 a 1 high s\n", r":1: 'high' is not a number"),
        ("q Q0 a 1 inf s\n", r":1: the score is inf"),
    ],
)
def test_broken_run_lines_are_named(content: str, message: str, tmp_path: Path) -> None:
    """The error names file and line."""
    (tmp_path / "r").write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_run(tmp_path / "r")


def test_broken_files_are_named(tmp_path: Path) -> None:
    """Half relevance, cut gzip, other bytes, and no file at all are errors with the path."""
    (tmp_path / "q").write_text("q 0 a 0.5\n")
    with pytest.raises(CorpusError, match=r":1: '0\.5' is not whole"):
        read_qrels(tmp_path / "q")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"q Q0 a 1 2.0 s\n")[:-12])
    with pytest.raises(CorpusError, match=r"cut\.gz cannot be read"):
        read_run(tmp_path / "cut.gz")
    (tmp_path / "latin").write_bytes("q Q0 ä 1 2.0 s\n".encode("latin-1"))
    with pytest.raises(CorpusError, match="latin cannot be read"):
        read_run(tmp_path / "latin")
    with pytest.raises(CorpusError, match="does not exist"):
        read_run(tmp_path / "absent")


ids = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(
    run=st.dictionaries(
        ids,
        st.dictionaries(ids, st.floats(allow_nan=False, allow_infinity=False), min_size=1),
        max_size=4,
    )
)
def test_any_run_survives(run: dict[str, dict[str, float]], tmp_path_factory) -> None:
    """Any ids without white space and any finite scores survive writing and reading."""
    path = tmp_path_factory.mktemp("runs") / "any.trec"
    write_run(run, path, system="s")
    assert read_run(path) == run
