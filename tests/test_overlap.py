"""What test suites hold is found in training texts, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lbr_search.corpus.overlap import HeldOut, held_out_of
from lbr_search.errors import CorpusError
from lbr_search.train.cleaning import PAIRS, Cleaner
from lbr_search.train.recipe import DataConfig

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def test_thirteen_words_in_a_row_are_an_overlap():
    """Twelve are not; case and punctuation do not count; the run may stand anywhere."""
    held_out = HeldOut([LONG])
    words = LONG.split()
    assert held_out.overlaps("before it: " + ", ".join(words[1:]).upper() + " and after")
    assert not held_out.overlaps("before it " + " ".join(words[2:]) + " and after")
    assert not held_out.overlaps(" ".join(reversed(words)))


def test_a_short_text_overlaps_as_a_whole_only():
    """`acute gout` held out does not forbid every text that speaks of it."""
    held_out = HeldOut(["Acute gout?"])
    assert held_out.overlaps("acute gout")
    assert not held_out.overlaps("treatment of acute gout")
    assert not held_out.overlaps("acute")
    assert not held_out.overlaps("")
    assert not HeldOut([]).overlaps("acute gout")


def write_suite(folder: Path) -> None:
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{n}", "title": f"name{n}", "text": f"about {n} {LONG}{n}"} for n in "abc"
    ]
    queries = [{"_id": f"q{n}", "text": f"who is {n}"} for n in "abc"]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    for split, name in (("train", "a"), ("dev", "b"), ("test", "c")):
        rows = f"query-id\tcorpus-id\tscore\nq{name}\td{name}\t1\n"
        (folder / f"qrels/{split}.tsv").write_text(rows)


def test_dev_and_test_of_a_suite_are_held_out_and_train_is_not(tmp_path: Path):
    """Queries and their answers; documents that only train asks for stay free."""
    write_suite(tmp_path)
    held_out = held_out_of([tmp_path])
    assert held_out.overlaps("Who is B?")
    assert held_out.overlaps("who is c")
    assert not held_out.overlaps("who is a")
    assert HeldOut(["x"]).overlaps("x")


def test_training_data_drops_and_counts_what_is_held_out(tmp_path: Path):
    """Of a suite its train split may be read; a pair that a test query equals is left out."""
    write_suite(tmp_path / "suites/medical/s")
    rows = [{"query": "who is b", "positive": "somebody else"}]
    rows += [{"query": f"free {n}", "positive": f"nothing of suite {n}"} for n in range(10)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = DataConfig(
        text={}, pairs={"pairs.jsonl": 1.0, "suites/medical/s": 1.0}, held_out="suites"
    )
    cleaner = Cleaner(config, tmp_path)
    pairs, counts = cleaner.pairs("pairs.jsonl", PAIRS)
    assert (len(pairs), counts["held_out"]) == (10, 1)
    # the document of the train query shares thirteen words with the held-out ones
    with pytest.raises(CorpusError, match="no pair to train on: read 1, held out 1"):
        cleaner.pairs("suites/medical/s", PAIRS)


def test_the_hashes_do_not_depend_on_the_order_of_words_seen():
    """Two sets made from the same texts in another order hold the same runs."""
    texts = [LONG, "acute gout", LONG[10:]]
    one, two = HeldOut(texts), HeldOut(reversed(texts))
    assert len(one) == len(two)
    assert np.array_equal(one._held_out, two._held_out)
