"""A user's own sources: any kind that can be ingested, pairs from structure, bad input refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lbr_search.corpus.rejects import Rejects
from lbr_search.errors import ConfigError, CorpusError
from lbr_search.train.cleaning import PAIRS, STRUCTURE, Cleaner, CleanPair
from lbr_search.train.recipe import DataConfig, load_recipe
from lbr_search.train.sources import own_data, read_pairs, read_text
from tests.hash_cli import run
from tests.test_train_run import RECIPE

NOTE = "the note about number {n} says that it differs from all other notes by item{n} and page{n}"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder of forty text files."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for n in range(40):
        (folder / f"subject {n}.txt").write_text(NOTE.format(n=n))
    return folder


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pair(n: int) -> dict[str, str]:
    return {"query": f"question {n}", "positive": f"answer {n} of item{n}"}


def test_own_sources_take_the_place_of_the_recipes(tmp_path: Path, notes: Path):
    """Texts alone give pairs by structure; given pairs are used instead; --set comes last."""
    pairs = write_lines(tmp_path / "p.jsonl", pair(1))
    alone = load_recipe("lbr-mini-cpu", data=own_data([str(notes)], [], home=tmp_path))
    assert dict(alone.data.text) == dict(alone.data.structure) == {str(notes): 1.0}
    assert not alone.data.pairs and not alone.data.licences
    given = load_recipe(
        "lbr-mini-cpu",
        overrides=["data.held_out=suites"],
        data=own_data([str(notes)], [pairs], home=tmp_path),
    )
    assert given.data.pairs == {str(pairs): 1.0} and not given.data.structure
    assert given.data.held_out == "suites"


def test_any_source_kind_is_read_as_text(tmp_path: Path, notes: Path):
    """A folder, a table and JSON lines give title and text; what is empty is counted."""
    table = tmp_path / "t.csv"
    table.write_text("name,body\nGout,joints hurt\n")
    lines = write_lines(
        tmp_path / "l.jsonl",
        {"id": "a", "title": "Gout", "text": "joints hurt"},
        {"id": "a", "title": "Gout", "text": ""},
    )
    rejects = Rejects(None)
    assert sorted(read_text(notes, rejects=rejects))[0] == f"subject 0 {NOTE.format(n=0)}"
    assert list(read_text(table, rejects=rejects)) == ["Gout joints hurt"]
    assert list(read_text(lines, rejects=rejects)) == ["Gout joints hurt"]
    assert rejects.by_reason == {"empty text": 1}


def test_empty_and_identical_sides_are_counted_and_all_of_them_refused(tmp_path: Path):
    """One good pair of three is trained on; a file without one is an error with the counts."""
    bad = [{"query": " ", "positive": "x"}, {"query": "Same", "positive": "same"}]
    some = write_lines(tmp_path / "some.jsonl", *bad, pair(1))
    write_lines(tmp_path / "none.jsonl", *bad)
    config = DataConfig(text={}, pairs={"some.jsonl": 1.0})
    kept, counts = Cleaner(config, tmp_path).pairs("some.jsonl", PAIRS)
    assert kept == [CleanPair("question 1", "answer 1 of item1", "answer 1 of item1")]
    assert (counts["empty side"], counts["identical sides"]) == (1, 1)
    with pytest.raises(CorpusError, match=r"none\.jsonl leaves no pair.*empty side 1, identical"):
        Cleaner(config, tmp_path).pairs("none.jsonl", PAIRS)
    assert some.is_file()


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("p.jsonl", '{"question": "a", "positive": "b"}', "columns question, positive, and not qu"),
        ("p.jsonl", '{"query": 3, "positive": "b"}', "p.jsonl:1: query is not text but 3"),
        ("p.jsonl", '["query", "positive"]', "no JSON object with columns"),
        ("p.csv", "query,positive", "not JSON lines"),
    ],
)
def test_a_wrong_pairs_file_names_line_and_columns(
    tmp_path: Path, name: str, line: str, message: str
):
    """What the file has, what is missing, and where."""
    (tmp_path / name).write_text(line + "\n")
    with pytest.raises(CorpusError, match=message):
        list(read_pairs(tmp_path / name, rejects=Rejects(None)))


def test_one_source_is_not_both_pairs_and_structure():
    """Two pair sources of one name would share their mined negatives."""
    with pytest.raises(ConfigError, match=r"a source of pairs = \['a'\]"):
        DataConfig(text={}, pairs={"a": 1.0}, structure={"a": 1.0})


def test_structure_makes_the_pairs_of_a_folder(notes: Path):
    """A text file's name asks for its text."""
    config = DataConfig(text={}, pairs={}, structure={str(notes): 1.0})
    kept, counts = Cleaner(config, Path()).pairs(str(notes), STRUCTURE)
    assert len(kept) == 40 and not any(counts.values())
    assert CleanPair("subject 7", NOTE.format(n=7), "subject 7.txt") in kept


def test_train_all_adapts_to_a_folder(tmp_path: Path, notes: Path):
    """The command trains on own notes alone, shows what was read, and writes an encoder."""
    (tmp_path / "toy.toml").write_text(RECIPE)
    few = [f"--set=stage{n}_loop.steps=1" for n in (1, 2)]
    out = tmp_path / "out"
    command = ["train", "all", tmp_path / "toy.toml", "--text", notes, "--out", out, *few]
    outcome = run(*command)
    assert outcome.code == 0, outcome.err
    assert "notes train 36, dev 4, documents 40" in " ".join(outcome.out.split())
    assert (out / "checkpoint" / "lbr.json").is_file()
    assert "pairs/toy" not in (out / "run.toml").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--text", "nowhere"), ("'nowhere' is neither a path",)),
        (("--pairs", "nowhere.jsonl"), ("nowhere.jsonl do not exist",)),
        (("--set", "stage2.gama=1"), ("use gamma",)),
        (("--pairs", "few.jsonl"), ("few to hold any out", "ten groups")),
    ],
)
def test_bad_input_is_refused_with_its_fix(tmp_path: Path, monkeypatch, options, words):
    """Exit code 1, what is wrong and what to do."""
    monkeypatch.chdir(tmp_path)
    Path("toy.toml").write_text(RECIPE)
    write_lines(Path("few.jsonl"), *map(pair, range(5)))
    outcome = run("train", "all", "toy.toml", "--out", "out", *options)
    assert outcome.code == 1 and "fix: " in outcome.err, outcome
    for word in words:
        assert word in outcome.err, outcome.err
