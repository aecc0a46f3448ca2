"""Vocabularies: measured on unseen texts, and digits and SMILES symbols stand alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lbr_search.errors import EncoderError
from lbr_search.train.recipe import load_recipe
from lbr_search.train.tokens import train_tokenizer
from lbr_search.train.vocabulary import compare_vocabularies, measure_vocabulary, open_tokenizer
from tests.hash_cli import run

ASPIRIN = "CC(=O)OC1=CC=CC=C1C(=O)O"


def test_digits_and_symbols_of_smiles_are_tokens_of_their_own():
    """However often they stand together, so that equal parts are written the same everywhere."""
    texts = [f"{ASPIRIN} has CAS 50-78-2 and mass 180.16"] * 50
    tokenizer = train_tokenizer(texts, vocab_size=400, special_tokens=[])
    pieces = [piece.lstrip("Ġ") for piece in tokenizer.encode(texts[0]).tokens]
    assert [p for p in pieces if any(c.isdigit() for c in p)] == list("115078218016")
    assert not [p for p in pieces if len(p) > 1 and any(c in "()=-." for c in p)]
    smiles = tokenizer.encode(ASPIRIN).tokens
    assert smiles[:6] == ["CC", "(", "=", "O", ")", "OC"]
    assert tokenizer.decode(tokenizer.encode(texts[0]).ids) == texts[0]


def test_bytes_a_token_by_hand():
    """Letters alone: one byte a token; what repeats becomes longer; é has two bytes."""
    letters = train_tokenizer([], vocab_size=300, special_tokens=[])
    words = train_tokenizer(["abcd " * 50], vocab_size=300, special_tokens=[])
    texts = {"code": ["abcd", "abcdabcd"], "medical": ["é"]}
    assert measure_vocabulary("a", letters, texts).bytes_per_token == {"code": 1.0, "medical": 1.0}
    found = measure_vocabulary("b", words, texts)
    assert found.bytes_per_token["code"] == 4.0 and found.unknown == 0.0


def test_the_measured_tenth_is_not_trained_on(tmp_path: Path):
    """A word that only every tenth text has stays in single bytes."""
    (tmp_path / "text/code").mkdir(parents=True)
    rows = [{"text": "zzzzzzzz" if n % 10 == 0 else "common words"} for n in range(200)]
    (tmp_path / "text/code/t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    name = '"text/code/t.jsonl" = 1'
    (tmp_path / "r.toml").write_text(f"[data.text]\n{name}\n[data.structure]\n{name}\n")
    recipe = load_recipe(tmp_path / "r.toml")
    (ours,) = compare_vocabularies(recipe, tmp_path, others=[])
    assert ours.bytes_per_token == {"code": 1.0}


def test_gpt2_files_are_read_as_byte_level_bpe(tmp_path: Path):
    """vocab.json and merges.txt, or encoder.json and vocab.bpe; other folders are refused."""
    trained = json.loads(train_tokenizer(["abab " * 9], vocab_size=300, special_tokens=[]).to_str())
    merges = "\n".join(" ".join(pair) for pair in trained["model"]["merges"])
    (tmp_path / "encoder.json").write_text(json.dumps(trained["model"]["vocab"]))
    (tmp_path / "vocab.bpe").write_text(f"#version: 0.2\n{merges}\n")
    tokenizer = open_tokenizer(str(tmp_path))
    assert tokenizer.encode("abab").tokens == ["abab"]
    (tmp_path / "vocab.bpe").unlink()
    with pytest.raises(EncoderError, match=r"no tokenizer: looked for tokenizer\.json"):
        open_tokenizer(str(tmp_path))


def test_the_command_compares_with_the_packaged_vocabulary():
    """One row each, with a column a domain, on the shipped corpora."""
    root = Path(__file__).parents[1]
    few = ["--set", "data.tokenizer_chars=20000", "--set", "model.vocab_size=1000"]
    outcome = run("train", "tokenizer", "smoke", "--data", root, *few)
    assert outcome.code == 0, outcome.err
    assert "lbr-smoke" in outcome.out and "30,522" in outcome.out and "chemistry" in outcome.out
