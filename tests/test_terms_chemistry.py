"""Names, formulas and structures: tables of real ones, each checked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbr_search.terms.chemistry import chemistry, structure_notes, whole_terms
from lbr_search.terms.folding import fold
from lbr_search.terms.morphemes import MORPHEMES, morphemes, split
from lbr_search.terms.retained import RETAINED_NAMES
from lbr_search.terms.structures import cas_numbers, hill_formula, is_smiles

SPLITS = """
methane = meth an
ethanol = eth an ol
propanone = prop an one
butanoic = but an oic
hexane = hex an
cyclohexane = cyclo hex an
octanedioic = oct an di oate
dodecanoic = dodec an oate
benzenecarboxylate = benzene carboxyl ate
mercaptopropanoate = sulfanyl prop an oate
sulfanylpropanoate = sulfanyl prop an oate
dihydroxypropanoic = di hydroxy prop an oate
tetrahydroxyhexanedioate = tetra hydroxy hex an di oate
aminomethyl = amino meth yl
dimethylamino = di meth yl amino
trichloromethane = tri chloro meth an
dinitrophenol = di nitro benzene ol
nitrobenzene = nitro benzene
hydroxyethane = hydroxy eth an
aminobenzoate = amino benzene carboxyl ic
glucopyranosyl = gluc pyran yl
ribofuranosyl = rib furan yl
sulfate = sulfate
triphosphate = tri phosphate
trianion = tri anion
dianion = di anion
alanine = amino prop an oate
lactate = hydroxy prop an oate
malate = hydroxy but an di oate
acetic = eth an oate
acetate = eth an oate ate
pyruvate = oxo prop an oate ate
tryptophanate = amino indole yl prop an oate ate
catechol = benzene di ol
"""


@pytest.mark.parametrize("line", SPLITS.strip().splitlines())
def test_words_in_morphemes(line):
    """Names come apart into canonical morphemes, retained names through their systematic one."""
    word, _, wanted = line.partition(" = ")
    if wanted.endswith("oic"):
        wanted = wanted.removesuffix("oic") + "oate"
    assert [piece.removeprefix("~") for piece in morphemes(word)] == wanted.split()


@pytest.mark.parametrize(
    "word",
    ["determination", "distribution", "transition", "analysis", "disease", "located", "initial",
     "information", "formation", "position", "hello", "protein", "method"],
)  # fmt: skip
def test_words_of_english_have_no_morphemes(word):
    """What only multipliers, endings and single letters could make up is left alone."""
    assert morphemes(word) == []


def test_systematic_names_are_made_of_morphemes():
    """Every name of the retained table can be split without that table."""
    assert [name for name in RETAINED_NAMES.values() if not split(name, {})] == []
    assert not any(canonical == "" for forms in MORPHEMES.values() for canonical in forms)


@pytest.mark.parametrize(
    ("number", "is_right"),
    [("50-78-2", True), ("7732-18-5", True), ("64-17-5", True), ("58-08-2", True),
     ("50-00-0", True), ("71-43-2", True), ("107-07-3", True), ("1310-73-2", True),
     ("7647-14-5", True), ("50-99-7", True), ("50-78-3", False), ("7732-18-4", False),
     ("64-17-0", False), ("2020-11-23", False), ("0-11-2", False)],
)  # fmt: skip
def test_cas_numbers(number, is_right):
    """A number is kept where its check digit is right, also within brackets."""
    assert (cas_numbers(f"water ({number}).") == [number]) == is_right
    assert (number in chemistry(f"it is ({number}), pure")) == is_right


@pytest.mark.parametrize(
    ("written", "hill"),
    [("H2O", "H2O"), ("C6H12O6", "C6H12O6"), ("CH3CH2OH", "C2H6O"), ("C2H5OH", "C2H6O"),
     ("NaCl", "ClNa"), ("H2SO4", "H2O4S"), ("Ca(OH)2", "CaH2O2"), ("Al2(SO4)3", "Al2O12S3"),
     ("NH4+", "H4N"), ("SO4(2-)", "O4S"), ("[MoO4](2-)", "MoO4"), ("K4[Fe(CN)6]", "C6FeK4N6"),
     ("n-C4H10", ""), ("HIV", ""), ("DNA", ""), ("Coal", ""), ("Xy2", ""), ("(OH", ""),
     ("OH)2", ""), ("C99999999999", ""), ("", ""), ("CO2", "CO2"), ("TiO2", "O2Ti")],
)  # fmt: skip
def test_formulas(written, hill):
    """Formulas in Hill order, brackets resolved; acronyms and broken ones are none."""
    assert hill_formula(written) == hill


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("CC(=O)Oc1ccccc1C(=O)O", True), ("c1ccccc1", True), ("CCO", True), ("OCC", True),
     ("C1CCCCC1", True), ("N[C@@H](C)C(=O)O", True), ("CN1C=NC2=C1C(=O)N(C(=O)N2C)C", True),
     ("C=C", True), ("C#N", True), ("[Na+].[Cl-].CC", True), ("F/C=C/F", True),
     ("C%10CC%10", True), ("C1CC", False), ("CC(", False), ("CC)", False), ("cops", False),
     ("CO2", False), ("word", False), ("=CC", False), ("C=", False), ("CC", False),
     ("NOS", False), ("[Na+]", False), ("C" * 2_000, False), ("C[N", False)],
)  # fmt: skip
def test_smiles(text, verdict):
    """Atoms, bonds, pairs of rings and brackets, and some carbon; nothing else."""
    assert is_smiles(text) == verdict


@pytest.mark.parametrize(
    ("token", "wanted"),
    [("2,4-Dinitrophenol", "2,4-dinitrophenol"),
     ("N,N-dimethylformamide", "n,n-dimethylformamide"),
     ("(2S)-2-aminopropanoic", "(2s)-2-aminopropanoic"),
     ("(R)-2-hydroxybutanedioate", "(r)-2-hydroxybutanedioate"),
     ("1H-indol-3-yl", "1h-indol-3-yl"), ("L-alanine,", "l-alanine"),
     ("alpha-D-glucopyranose", "alpha-d-glucopyranose"),
     ("\u03b1-D-glucopyranose", "alpha-d-glucopyranose"),
     ("(2,4-dinitrophenol)", "2,4-dinitrophenol"), ("cis-but-2-ene.", "cis-but-2-ene"),
     ("5\u2032-triphosphate", "5'-triphosphate"), ("bicyclo[4.2.0]oct-2-ene", None),
     ("well-known", None), ("X-ray", None), ("state-of-the-art", None), ("50-78-3", None),
     ("InChI=1S/CH4/h1H4", "inchi=1s/ch4/h1h4"), ("(InChI=1S/CH4/h1H4).", "inchi=1s/ch4/h1h4"),
     ("VNWKTOKETHGBQD-UHFFFAOYSA-N;", "vnwktokethgbqd-uhfffaoysa-n"),
     ("H\u2082O", "formula:H2O"), ("(NaCl)", "formula:ClNa"),
     ("c1ccccc1", "smiles:c1ccccc1"), ("(CCO)", "smiles:CCO")],
)  # fmt: skip
def test_what_is_kept_whole(token, wanted):
    """Names with locants, brackets, Greek letters and descriptors, and structures."""
    terms = whole_terms(fold(token))
    if wanted is None:
        assert token.lower() not in terms
    else:
        assert terms[0] == wanted


@pytest.mark.parametrize("other", ["OCC", "C(C)O", "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"])
def test_structures_meet_in_their_canonical_form(other):
    """With RDKit, other ways to write ethanol share a term with CCO, and with its InChIKey."""
    pytest.importorskip("rdkit")
    assert "lfqscwfljhtthz-uhfffaoysa-n" in set(chemistry("CCO")) & set(chemistry(other))
    assert "lfqscwfljhtthz-uhfffaoysa-n" in chemistry("LFQSCWFLJHTTHZ-UHFFFAOYSA-N")


def test_impossible_smiles_are_text():
    """Where RDKit says that no molecule reads so (five bonds at one carbon), it is text."""
    pytest.importorskip("rdkit")
    assert whole_terms("C(C)(C)(C)(C)C") == []
    assert chemistry("CN(C)(C)(C)(C)C=CC")  # and nothing breaks


WRITTEN = "CC(=O)Oc1ccccc1C(=O)O"


@pytest.mark.parametrize(
    ("query", "noted"),
    [
        ("CC(=O)Oc1ccccc1C(=O", "CC(=O)Oc1ccccc1C(=O"),
        ("what is c1ccccc?", "c1ccccc"),
        ("[Na+].[Cl-]", "[Na+].[Cl-]"),
        ("vitamin B12 and CO2 in Fe(III)", None),
        ("COPD in smokers, cops", None),
        ("N,N-dimethylformamide 50-78-2", None),
        ("LFQSCWFLJHTTHZ-UHFFFAOYSA-N", None),
        ("", None),
    ],
)
def test_a_slip_in_smiles_is_said(query: str, noted: str | None):
    """With RDKit and without: what cannot be SMILES is text, and no word or formula is accused."""
    notes = structure_notes(query)
    if noted is None:
        assert notes == []
    else:
        (note,) = notes
        assert note.startswith(f"{noted} is no SMILES") and note.endswith("treated as text")
        assert not any(term.startswith("smiles:") for term in chemistry(query))


@pytest.mark.parametrize("kind", ["SMILES", "InChI"])
def test_what_rdkit_says_of_a_structure_is_said(monkeypatch: pytest.MonkeyPatch, kind: str):
    """Refused: text. Not installed: so it was not checked. Sound: nothing to say."""
    written = WRITTEN if kind == "SMILES" else "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"
    for answer, says in (
        (None, f"{written} is no valid {kind} (RDKit); treated as text"),
        ("", f"{written} reads as {kind} and matches itself alone: RDKit"),
    ):
        monkeypatch.setattr("lbr_search.terms.chemistry.canonical_form", lambda _, a=answer: a)
        (note,) = structure_notes(f"find {written}, {written}")
        assert note.startswith(says)
        assert (answer is None) == ("lbr-search[chem]" not in note)
    monkeypatch.setattr("lbr_search.terms.chemistry.canonical_form", lambda _: "key")
    assert structure_notes(written) == []


def test_rdkit_itself_refuses_an_impossible_molecule():
    """Five bonds at one carbon: well-formed, and no molecule."""
    pytest.importorskip("rdkit")
    (note,) = structure_notes("is C(C)(C)(C)(C)C stable")
    assert note == "C(C)(C)(C)(C)C is no valid SMILES (RDKit); treated as text"
    assert structure_notes(WRITTEN) == []


@given(st.text())
def test_notes_never_fail(text: str):
    assert all(isinstance(note, str) for note in structure_notes(text))


def test_morphemes_stand_once_a_text():
    """A text that repeats a name is not made longer by its morphemes."""
    assert chemistry("ethanol and ethanol").count("~eth") == 1
