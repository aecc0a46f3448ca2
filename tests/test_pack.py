"""A packed data set: within its size, without what training would drop, and trained as before."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from lbr_search.errors import ConfigError
from lbr_search.train.data import load_data
from lbr_search.train.pack import RECIPE_FILE, pack, shares
from lbr_search.train.recipe import Recipe, load_recipe
from tests.hash_cli import run
from tests.tiny import tiny_tokenizer

RANDOM = random.Random(3)
DATA = """
[data]
dev_pairs = 5
[data.text]
"text/code/t.jsonl" = 1
[data.pairs]
"pairs/code/p.jsonl.xz" = 3
[data.structure]
"notes" = 1
[data.cloze]
"text/code/t.jsonl" = 2
[data.licences]
"notes" = "CC0"
"""


def words(n: int) -> str:
    return " ".join(f"w{RANDOM.randrange(10**6)}" for _ in range(n))


def sentences(n: int) -> str:
    return " ".join(f"{words(10).capitalize()}." for _ in range(n))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Texts, pairs and a folder of notes, with a duplicate each."""
    import lzma

    for name in ("text/code", "pairs/code", "notes"):
        (tmp_path / name).mkdir(parents=True)
    texts = [{"id": str(n), "text": sentences(6)} for n in range(60)]
    (tmp_path / "text/code/t.jsonl").write_text("\n".join(map(json.dumps, [*texts, texts[0]])))
    pairs = [
        {"query": words(4), "positive": words(30), "group": f"g{n // 2}" if n < 40 else ""}
        for n in range(80)
    ]
    with lzma.open(tmp_path / "pairs/code/p.jsonl.xz", "wt") as file:
        file.write("\n".join(map(json.dumps, [*pairs, pairs[0]])))
    for n in range(20):
        (tmp_path / f"notes/note {n}.txt").write_text(words(20))
    (tmp_path / "r.toml").write_text(DATA)
    return load_recipe(tmp_path / "r.toml")


def load(recipe: Recipe, folder: Path):
    return load_data(
        recipe.data,
        folder,
        tokenizer=tiny_tokenizer(),
        prompts=("<query>", "<passage>"),
        n_compression_tokens=3,
        cache=folder / "cache",
    )


def test_what_is_packed_trains_as_before(tmp_path: Path, recipe: Recipe):
    """The same tokens and the same split; names, licences and groups stay."""
    out = tmp_path / "packed"
    packed = pack(recipe, tmp_path, out=out, max_bytes=10**6)
    assert [source.n_rows for source in packed] == [60, 80, 20]
    assert packed[0].counts["duplicates_dropped"] == 1
    again = load_recipe(out / RECIPE_FILE)
    assert list(again.data.text) == ["text/code/t.jsonl.xz"]
    assert list(again.data.pairs) == ["pairs/code/p.jsonl.xz", "notes.pairs.jsonl.xz"]
    assert dict(again.data.licences) == {"notes.pairs.jsonl.xz": "CC0"}
    before, after = load(recipe, tmp_path), load(again, out)
    assert np.array_equal(before.text[0].texts.ids, after.text[0].texts.ids)
    assert len(before.pairs) == 3
    assert len(before.pairs[2].keys) == 60  # a sentence of each text
    for one, two in zip(before.pairs, after.pairs, strict=True):
        assert np.array_equal(one.keys, two.keys)
        assert np.array_equal(one.dev, two.dev)


def test_too_much_is_cut_by_weight_and_counted(tmp_path: Path, recipe: Recipe):
    """The total keeps its bound; the heavier source keeps more of itself; every cut row counts."""
    whole = pack(recipe, tmp_path, out=tmp_path / "whole", max_bytes=10**6)
    bound = sum(source.size_bytes for source in whole) // 2
    cut = pack(recipe, tmp_path, out=tmp_path / "cut", max_bytes=bound)
    assert 0.7 * bound < sum(source.size_bytes for source in cut) <= bound
    assert [a.n_rows + a.n_cut for a in cut] == [b.n_rows for b in whole]
    rows = {source.name: source.n_rows for source in cut}
    on_disk = load(load_recipe(tmp_path / "cut" / RECIPE_FILE), tmp_path / "cut")
    assert len(on_disk.text[0].texts) == rows["text/code/t.jsonl.xz"] < 60
    given = shares([b.size_bytes for b in whole], [1.0, 3.0, 1.0], bound)
    assert all(a.size_bytes <= share for a, share in zip(cut, given, strict=True))
    with pytest.raises(ConfigError, match="does not fit into"):
        pack(recipe, tmp_path, out=tmp_path / "tiny", max_bytes=100)


def test_the_command_shows_the_total_and_what_to_run(tmp_path: Path, recipe: Recipe):
    """Every source with its rows and size, the total against the bound, the next command."""
    out = tmp_path / "packed"
    outcome = run("train", "pack", tmp_path / "r.toml", "--data", tmp_path, "--out", out)
    assert outcome.code == 0, outcome.err
    shown = " ".join(outcome.out.split())
    assert "rows 60" in shown and "of 60 MB" in shown and "lbr-search train all" in shown
