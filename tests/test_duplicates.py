"""Near duplicates: found by shared runs of words, counted, and wanted within a group."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from lbr_search.corpus.duplicates import N_WORDS, near_duplicates
from lbr_search.errors import ConfigError
from lbr_search.train.cleaning import PAIRS, Cleaner
from lbr_search.train.recipe import DataConfig
from lbr_search.upkeep.duplicates import near_duplicate_groups
from tests.hash_cli import run

RANDOM = random.Random(7)
WORDS = [f"word{n}" for n in range(3_000)]


def text(n_words: int = 120) -> str:
    return " ".join(RANDOM.choice(WORDS) for _ in range(n_words))


def jaccard(one: str, two: str) -> float:
    runs = [
        {tuple(words[i : i + N_WORDS]) for i in range(len(words) - N_WORDS + 1)}
        for words in (one.split(), two.split())
    ]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def test_repeats_are_found_and_other_texts_are_not():
    """One word of 120 changed is a near duplicate (J = .92); every eighth word changed is not."""
    base = [text() for _ in range(60)]
    near = [one.replace(one.split()[60], "changed", 1) for one in base[:20]]
    far = [
        " ".join("other" if n % 8 == 0 else w for n, w in enumerate(one.split()))
        for one in base[20:40]
    ]
    assert min(jaccard(*pair) for pair in zip(base, near, strict=False)) > 0.87
    assert max(jaccard(*pair) for pair in zip(base[20:], far, strict=False)) < 0.35
    found = near_duplicates([*base, *near, *far], threshold=0.8)
    assert (found[:60] == -1).all() and (found[80:] == -1).all()
    assert found[60:80].tolist() == list(range(20))


def test_the_threshold_decides_and_case_and_punctuation_do_not():
    """The same words are one text; at threshold 1 only they are."""
    one = text()
    texts = [one, one.upper().replace(" ", ", "), one.replace(one.split()[50], "changed", 1)]
    assert near_duplicates(texts, threshold=0.8).tolist() == [-1, 0, 0]
    assert near_duplicates(texts, threshold=1.0).tolist() == [-1, 0, -1]
    assert near_duplicates(["a + b", "a - b", "a + b"], threshold=0.8).tolist() == [-1, -1, -1]


@pytest.mark.parametrize(("group", "n_left"), [("other", 1), ("same", 2)])
def test_a_pair_goes_whose_passage_repeats_one_of_another_group(
    tmp_path: Path, group: str, n_left: int
):
    """A definition and the same with its term before it belong to one group and stay."""
    passage = text()
    rows = [
        {"query": "one", "positive": passage, "group": "same"},
        {"query": "two", "positive": f"term {passage}", "group": group},
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    kept, counts = Cleaner(DataConfig(text={}, pairs={"p.jsonl": 1.0}), tmp_path).pairs(
        "p.jsonl", PAIRS
    )
    assert (len(kept), counts["near_duplicates"]) == (n_left, 2 - n_left)


def test_texts_are_dropped_and_counted(tmp_path: Path):
    """Exact repeats, near repeats and what lies past the limit each have their count."""
    one, two = text(), text()
    rows = [one, one, f"{one} more", two, text(), text()]
    lines = [json.dumps({"text": row}) for row in rows]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    config = DataConfig(
        text={"t.jsonl": 1.0}, pairs={"p": 1.0}, max_text_chars=sum(map(len, rows[:4]))
    )
    kept, counts = Cleaner(config, tmp_path).texts("t.jsonl")
    assert kept == [one, two]
    assert (counts["duplicates_dropped"], counts["near_duplicates"]) == (1, 1)
    assert (counts["documents"], counts["past_limit"]) == (2, 2)


def test_an_index_tells_which_documents_nearly_repeat_another(tmp_path: Path):
    """By whole documents, however they were cut; the first by row stays the first."""
    originals = [text(200) for _ in range(5)]
    rows = [{"_id": f"d{n}", "text": one} for n, one in enumerate(originals)]
    rows += [
        {"_id": f"again-{n}", "text": one.replace(one.split()[9], "changed", 1)}
        for n, one in enumerate(originals[:2])
    ]
    rows += [{"_id": "third", "text": originals[0]}, {"_id": "short", "text": "word1 word2"}]
    lines = tmp_path / "notes.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    index = tmp_path / "index"
    command = ("ingest", lines, "--index", index, "--encoder", "hash:a", "--chunk-tokens", 64)
    assert run(*command).code == 0
    found = {"d0": ["again-0", "third"], "d1": ["again-1"]}
    assert near_duplicate_groups(index) == found
    assert near_duplicate_groups(index, threshold=1.0) == {"d0": ["third"]}
    outcome = run("index", "duplicates", index, "--json")
    assert "3 documents nearly repeat one of 2 others" in outcome.err
    assert [json.loads(line)["ids"] for line in outcome.out.splitlines()] == [
        "again-0, third",
        "again-1",
    ]
    with pytest.raises(ConfigError, match="threshold"):
        near_duplicate_groups(index, threshold=0)
