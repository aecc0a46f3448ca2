"""The probe: an encoder that knows the terms is told from one that does not, foils are hard."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lbr_search.bench.probe import count_terms, probe_json, run_probe
from lbr_search.bench.probe_terms import N_FOILS, Term, probe_set, read_terms, trigrams
from lbr_search.errors import ConfigError
from tests.conftest import HashEncoder
from tests.hash_cli import run

KINDS_OF = ("fever", "syndrome", "anaemia", "palsy")
TERMS = [
    Term(
        name=f"morbus{n} {KINDS_OF[n % 4]}",
        synonyms=(f"nosos{n * 7} {KINDS_OF[n % 4]}",),
        definition=f"A condition of organ{n} that lasts {n} days and more.",
    )
    for n in range(120)
]


class KnowingEncoder(HashEncoder):
    """Every name, synonym and definition of a term has the term's own vector."""

    def __init__(self, name: str = "knowing", share: float = 1.0) -> None:
        super().__init__(salt=name)
        self.name = name
        known = TERMS[: round(share * len(TERMS))]
        self._rows = {
            text: row for row, t in enumerate(known) for text in (t.name, *t.synonyms, t.definition)
        }

    def _encode(self, texts: list[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), len(TERMS) + 1), dtype=np.float32)
        for number, text in enumerate(texts):
            vectors[number, self._rows.get(text, len(TERMS))] = 1
        return vectors

    def encode_queries(self, texts, *, report=None) -> np.ndarray:
        return self._encode(texts)

    def encode_passages(self, texts, *, report=None) -> np.ndarray:
        return self._encode(texts)


def test_foils_are_hard_and_never_right() -> None:
    """Fifty others; first the same head word, then the likest; own names are no foils."""
    [twin] = [t for t in TERMS if t.name == "morbus0 fever"]
    terms = [*TERMS, Term("another fever", synonyms=(twin.synonyms[0].upper(),))]
    found = probe_set("synonym", terms, most=1000, seed=0)
    assert len(found.items) == len(terms)
    for item in found.items:
        assert len(item.foils) == len(set(item.foils)) == N_FOILS and item.answer not in item.foils
        answer = found.texts[item.answer].casefold()
        foils = [found.texts[place].casefold() for place in item.foils]
        assert answer not in foils
        same_head = [foil.split()[-1] == answer.split()[-1] for foil in foils]
        assert all(same_head[:25]), "half of them share the head word"
    item = next(item for item in found.items if item.name == "morbus0 fever")
    likeness = trigrams([found.texts[p] for p in item.foils]) @ trigrams(["nosos0 fever"])[0]
    rest = [p for p in range(len(found.texts)) if p not in (item.answer, *item.foils)]
    others = trigrams([found.texts[p] for p in rest]) @ trigrams(["nosos0 fever"])[0]
    assert likeness.mean() > others.mean()


def test_what_an_encoder_knows_is_what_it_ranks_first() -> None:
    """All known: 1. A half: about a half. Equal scores everywhere: 0, for ties count against it."""
    encoders = [KnowingEncoder("none", 0), KnowingEncoder("half", 0.5), KnowingEncoder("all")]
    found = run_probe(TERMS, encoders)
    accuracy = {(r.encoder, r.kind): r.accuracy for r in found.results}
    for kind in ("synonym", "definition"):
        assert accuracy["all", kind] == 1.0
        assert accuracy["half", kind] == 0.5
        assert accuracy["none", kind] == 0.0
        comparison = found.comparisons[kind, "all", "none"]
        assert comparison.verdict == "better" and comparison.n_compared == 4
    none = next(r for r in found.results if (r.encoder, r.kind) == ("none", "synonym"))
    assert none.mean_rr == pytest.approx(1 / 51)
    assert none.n_foils == 50


def test_accuracy_by_frequency(tmp_path: Path) -> None:
    """Terms are counted as words in the training text; each bin has its own accuracy."""
    text = f"{TERMS[0].name} " * 12 + f"{TERMS[1].name.upper()}, and {TERMS[2].name}! Morbus3 flu."
    (tmp_path / "train.jsonl").write_text(json.dumps({"text": text}) + "\n")
    counts = count_terms({t.name for t in TERMS[:4]}, [tmp_path / "train.jsonl"])
    assert [counts[t.name] for t in TERMS[:4]] == [12, 1, 1, 0]
    found = run_probe(TERMS, [KnowingEncoder("two", 2 / 120)], train=[tmp_path / "train.jsonl"])
    rows = found.results[0].by_frequency(found.counts)
    assert rows == [("0", 117, 0.0), ("1-9", 2, 0.5), ("10-99", 1, 1.0), ("100+", 0, None)]
    assert json.loads(json.dumps(probe_json(found)))["counts"][TERMS[0].name] == 12


def test_answers_that_repeat_the_name_are_left_out_and_counted() -> None:
    """A synonym that holds the name would be found by its words alone."""
    terms = [*TERMS, Term("gout", synonyms=("acute gout",), definition="Painful swelling of toes.")]
    found = run_probe(terms, [KnowingEncoder()])
    assert found.n_left_out == {"synonym": 1, "definition": 0}
    assert "gout" not in found.results[0].reciprocal_ranks


OBO = """format-version: 1.2

[Term]
id: X:1
name: gout
def: "Painful swelling of the \\"big\\" toe." [x]
synonym: "podagra" EXACT []
synonym: "arthritis" BROAD []

[Term]
id: X:2
name: old
is_obsolete: true
synonym: "older" EXACT []

[Typedef]
name: part of
"""


def test_terms_are_read(tmp_path: Path) -> None:
    """OBO: exact synonyms and definitions, nothing obsolete. CSV: several lines. Texts: mined."""
    (tmp_path / "x.obo").write_text(OBO)
    assert read_terms(str(tmp_path / "x.obo"), home=tmp_path) == [
        Term("gout", ("podagra",), 'Painful swelling of the "big" toe.')
    ]
    (tmp_path / "x.csv").write_text("name,synonym\ngout,podagra\ngout,arthritis urica\nlone,\n")
    assert read_terms(str(tmp_path / "x.csv"), home=tmp_path) == [
        Term("gout", ("podagra", "arthritis urica"))
    ]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("Gout is a painful swelling of the big toe. Old.")
    assert read_terms(str(tmp_path / "notes"), home=tmp_path) == [
        Term("Gout", (), "A painful swelling of the big toe.")
    ]


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    """Other columns, no terms, no file, too few terms, one encoder twice."""
    (tmp_path / "columns.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty.obo").write_text("[Term]\nname: lone\n")
    (tmp_path / "few.csv").write_text("name,synonym\n" + "".join(f"a{n},b{n}\n" for n in range(5)))
    for name, message in (
        ("columns.csv", "has the columns a, b"),
        ("empty.obo", "no term with a synonym"),
        ("none.obo", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_terms(str(tmp_path / name), home=tmp_path)
    few = read_terms(str(tmp_path / "few.csv"), home=tmp_path)
    with pytest.raises(ConfigError, match="5 terms are too few"):
        run_probe(few, [KnowingEncoder()])
    with pytest.raises(ConfigError, match="is given twice"):
        run_probe(TERMS, [KnowingEncoder(), KnowingEncoder()])


def test_the_command_compares_encoders(tmp_path: Path) -> None:
    """Two encoders, counted terms, numbers written."""
    rows = "".join(f'"{t.name}","{t.synonyms[0]}","{t.definition}"\n' for t in TERMS[:60])
    (tmp_path / "terms.csv").write_text("name,synonym,definition\n" + rows)
    (tmp_path / "train.txt").write_text(TERMS[0].name)
    files = ("--terms", tmp_path / "terms.csv", "--train", tmp_path / "train.txt")
    encoders = ("--encoder", "hash:a", "--encoder", "hash:b")
    outcome = run("bench", "probe", *files, *encoders, "--json", tmp_path / "p.json")
    assert outcome.code == 0, outcome.err
    written = json.loads((tmp_path / "p.json").read_text())
    assert {(r["encoder"], r["kind"]) for r in written["results"]} == {
        (name, kind) for name in ("hash-a", "hash-b") for kind in ("synonym", "definition")
    }
    assert written["results"][0]["n_terms"] == 60
    assert "Accuracy by times in the training text" in outcome.out
