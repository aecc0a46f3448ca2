"""Facts of the chemistry passages that code can check: numbers, formulas, masses, years."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parent.parent / "corpora" / "demo" / "chemistry" / "corpus.jsonl"
PASSAGES = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]

# in the order of atomic numbers, hydrogen to uranium
SYMBOLS = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb
Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U
"""
ELEMENTS = SYMBOLS.split()

# standard atomic weights, abridged to five figures (IUPAC), for elements in stated molar masses
WEIGHTS = {
    "H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "F": 18.998, "Na": 22.990, "Si": 28.085,
    "P": 30.974, "S": 32.06, "Cl": 35.45, "K": 39.098, "Mn": 54.938, "Fe": 55.845, "Pt": 195.08,
}  # fmt: skip

CAS_NUMBER = re.compile(r"\b\d{2,7}-\d{2}-\d\b")
SMILES_ATOM = re.compile(r"Cl|Br|\[([A-Za-z][a-z]?)[^\]]*\]|([BCNOPSFIcnops])")


def has_valid_check_digit(cas: str) -> bool:
    """The last digit is the sum of the others, weighted 1, 2, 3... from the right, modulo 10."""
    *digits, check = (int(c) for c in cas if c.isdigit())
    return sum(n * digit for n, digit in enumerate(reversed(digits), 1)) % 10 == check


def atoms(formula: str) -> Counter[str]:
    """Atoms of a formula without brackets; refuses what is not a formula."""
    parts = re.findall(r"([A-Z][a-z]?)(\d*)", formula)
    assert "".join(symbol + count for symbol, count in parts) == formula
    counted: Counter[str] = Counter()
    for symbol, count in parts:
        assert symbol in ELEMENTS, f"{formula}: no element {symbol}"
        counted[symbol] += int(count or 1)
    return counted


def heavy_atoms(smiles: str) -> Counter[str]:
    """Atoms other than hydrogen in a SMILES string of organic elements."""
    counted: Counter[str] = Counter()
    for match in SMILES_ATOM.finditer(smiles):
        symbol = match[1] or match[2] or match[0]
        counted["N" if symbol == "nH" else symbol.capitalize()] += 1
    return counted


def stated(pattern: str) -> list[tuple[dict, re.Match[str]]]:
    """Every occurrence of a pattern with its passage."""
    return [(p, match) for p in PASSAGES for match in re.finditer(pattern, p["text"])]


def test_the_check_digit_rule_tells_right_from_wrong():
    """Water's number is valid; each wrong last digit, and two digits swapped, are not."""
    assert has_valid_check_digit("7732-18-5")
    assert not any(has_valid_check_digit(f"7732-18-{n}") for n in (0, 1, 2, 3, 4, 6, 7, 8, 9))
    assert not has_valid_check_digit("7723-18-5")


def test_cas_numbers_are_valid_and_agree_with_the_metadata():
    """A passage states one CAS number at most, a valid one, and its metadata has the same."""
    n_numbers = 0
    for passage in PASSAGES:
        found = CAS_NUMBER.findall(passage["text"])
        known = passage["metadata"].get("cas")
        assert found == ([known] if known else []), passage["_id"]
        assert all(map(has_valid_check_digit, found)), passage["_id"]
        n_numbers += len(found)
    assert n_numbers >= 90


def test_no_two_passages_share_a_cas_number():
    """A number names one substance, so it can name one passage only."""
    counted = Counter(p["metadata"]["cas"] for p in PASSAGES if "cas" in p["metadata"])
    assert [cas for cas, n in counted.items() if n > 1] == []


def test_formulas_parse_and_stand_in_the_text():
    """Metadata formulas are made of elements and counts; the reader sees them in the passage."""
    with_formula = [p for p in PASSAGES if "formula" in p["metadata"]]
    assert len(with_formula) >= 75
    for passage in with_formula:
        formula = passage["metadata"]["formula"]
        assert atoms(formula), passage["_id"]
        assert re.search(rf"\b{formula}\b", passage["text"]), passage["_id"]


def test_compounds_have_formula_and_cas():
    """Every passage of the category compound can be found by formula and by number."""
    compounds = [p for p in PASSAGES if p["metadata"]["category"] == "compound"]
    assert len(compounds) >= 50
    assert [p["_id"] for p in compounds if not {"formula", "cas"} <= p["metadata"].keys()] == []


def test_molar_masses_agree_with_the_formulas():
    """A stated molar mass is the sum of atomic weights of the passage's formula to 0.01 g/mol."""
    masses = stated(r"molar mass (\S+) g/mol")
    assert len(masses) == len(stated(r"g/mol"))
    assert len(masses) >= 30
    for passage, match in masses:
        counted = atoms(passage["metadata"]["formula"])
        computed = sum(WEIGHTS[symbol] * n for symbol, n in counted.items())
        assert float(match[1]) == pytest.approx(computed, abs=0.0051), passage["_id"]


def test_smiles_have_the_heavy_atoms_of_the_formula():
    """A SMILES string holds the same atoms, hydrogen aside, as the passage's formula."""
    structures = stated(r"SMILES (\S+?)[.,;]?(?:\s|$)")
    assert len(structures) >= 35
    for passage, match in structures:
        expected = atoms(passage["metadata"]["formula"])
        del expected["H"]
        assert heavy_atoms(match[1]) == expected, passage["_id"]


def test_elements_have_the_symbol_of_their_atomic_number():
    """Symbol and atomic number in a passage on an element belong together."""
    found = stated(r"symbol ([A-Z][a-z]?), atomic number (\d+)")
    assert [p["_id"] for p, _ in found] == [
        p["_id"] for p in PASSAGES if p["metadata"]["category"] == "element"
    ]
    for passage, match in found:
        assert ELEMENTS[int(match[2]) - 1] == match[1], passage["_id"]


def test_years_in_metadata_are_stated_in_the_text():
    """A year that filters use is one that the reader finds in the passage."""
    dated = [p for p in PASSAGES if "year" in p["metadata"]]
    assert len(dated) >= 100
    for passage in dated:
        assert re.search(rf"\b{passage['metadata']['year']}\b", passage["text"]), passage["_id"]
