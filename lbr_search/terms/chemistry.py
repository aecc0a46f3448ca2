"""Chemistry -> terms: names, formulas and structures whole, and words in morphemes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lbr_search.terms.canonical import canonical_form
from lbr_search.terms.english import WORD, Memory, stems
from lbr_search.terms.folding import GREEK, fold
from lbr_search.terms.morphemes import morphemes
from lbr_search.terms.spelling import american
from lbr_search.terms.structures import (
    INCHI_KEY,
    cas_numbers,
    hill_formula,
    inchis,
    is_smiles,
    seems_smiles,
)

NAME = re.compile(r"[\w(\[{][\w()\[\]{}',:+\-]*[\w)\]}'+]")
LOCANT = re.compile(r"[\d,()\[\]{}]")
LETTERS = re.compile("[a-z]+")
DESCRIPTORS = frozenset(
    [*GREEK, *LETTERS.findall("d l n o s r e z dl rac cis trans meso ortho meta para")]
)
"""What stands before a name with a hyphen and belongs to it, besides numbers."""
BEGINNING = 5
LONG_WORD = 7
"""Chosen on the train and dev queries of four chemistry suites: mean nDCG@10 .562 -> .582."""
UNREAD = "is no SMILES (rings and brackets closed, carbon in it); treated as text"
EDGES = ".,;:!?\"'"


def chemistry(text: str) -> list[str]:
    """English, beginnings and morphemes of chemical words, and what names a structure whole.

    Names of one family share their beginning and differ in their ending (benzoic, benzoyl,
    benzoate), where an English stemmer joins little: words of `LONG_WORD` letters or more also
    give their first `BEGINNING`. Morphemes stand once a text, however often it holds them: in
    running text their repetition says little and would lengthen it (mean nDCG@10 of two suites
    of running text .744 -> .751). Both are marked so that no word can equal them.

    >>> chemistry("2-Acetoxybenzoic acid (50-78-2)")[:6]
    ['acetoxybenzo', 'acid', '50', '78', '^aceto', '2-acetoxybenzoic']
    """
    text = fold(text)
    words = WORD.findall(text.lower())
    terms = list(filter(None, map(_stems.__getitem__, words)))
    beginnings = (word[:BEGINNING] for word in words if len(word) >= LONG_WORD)
    terms.extend(f"^{letters}" for letters in beginnings if letters.isalpha())
    for wholes in filter(None, map(_wholes.__getitem__, text.split())):
        terms.extend(wholes.split(" "))
    pieces = filter(None, map(_morphemes.__getitem__, words))
    terms.extend(dict.fromkeys(" ".join(pieces).split()))
    return terms


def whole_terms(token: str) -> list[str]:
    """What names a structure in a token that stands between spaces.

    Case counts in formulas and SMILES (CO and Co, C1CCCCC1 and c1ccccc1), so both are marked;
    everything else is in lower case.

    >>> whole_terms("(50-78-2)"), whole_terms("CH3CH2OH,"), whole_terms("N,N-dimethylformamide")
    (['50-78-2'], ['formula:C2H6O'], ['n,n-dimethylformamide'])
    """
    bare = token.strip(EDGES)
    if bare[1:].isalpha() and bare[1:].islower():
        return []  # a plain word, as most are
    written = inchis(token)
    if written:
        keys = [canonical_form(inchi) for inchi in written]
        return [*(inchi.lower() for inchi in written), *filter(None, keys)]
    written = INCHI_KEY.findall(bare)
    if written:
        return [key.lower() for key in written]
    for form in dict.fromkeys((bare, _without_brackets(bare))):
        formula = hill_formula(form)
        if formula:
            return [f"formula:{formula}"]
        canonical = canonical_form(form) if is_smiles(form) else None
        if canonical is not None:
            return list(dict.fromkeys(filter(None, [f"smiles:{form}", canonical])))
    return [*cas_numbers(token), *(bare[start:end].lower() for start, end in name_spans(bare))]


def structure_notes(text: str) -> list[str]:
    """What became of each structure in `text` that is not, or may not be, what it is written as.

    >>> structure_notes("aspirin CC(=O")
    ['CC(=O is no SMILES (rings and brackets closed, carbon in it); treated as text']
    """
    notes = []
    for token in fold(text).split():
        bare = token.strip(EDGES)
        for inchi in inchis(token):
            notes += _checked(inchi, "InChI", canonical_form(inchi))
        forms = dict.fromkeys((bare, _without_brackets(bare)))
        if inchis(token) or INCHI_KEY.search(bare) or any(map(hill_formula, forms)):
            continue
        written = next((form for form in forms if is_smiles(form)), None)
        if written is not None:
            notes += _checked(written, "SMILES", canonical_form(written))
        elif seems_smiles(bare):
            notes.append(f"{bare} {UNREAD}")
    return list(dict.fromkeys(notes))


def _checked(written: str, kind: str, canonical: str | None) -> list[str]:
    if canonical is None:
        return [f"{written} is no valid {kind} (RDKit); treated as text"]
    if canonical == "":
        return [
            f"{written} reads as {kind} and matches itself alone: RDKit, which would check it, is "
            'not installed (pip install "lbr-search[chem]")'
        ]
    return []


def name_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where systematic names stand: with a hyphen, and a locant, bracket or descriptor."""
    for match in NAME.finditer(text):
        start, end = match.span()
        if text[start] + text[end - 1] in ("()", "[]", "{}"):
            start, end = start + 1, end - 1
        name = text[start:end]
        if "-" not in name or name.replace("-", "").isdigit():
            continue
        if LOCANT.search(name) or not DESCRIPTORS.isdisjoint(name.lower().split("-")[:-1]):
            yield start, end


def _without_brackets(text: str) -> str:
    return text[1:-1].strip(EDGES) if text[:1] + text[-1:] in ("()", "[]", "{}") else text


def _word_morphemes(word: str) -> str:
    return " ".join(piece for letters in LETTERS.findall(word) for piece in morphemes(letters))


_stems = Memory(lambda word: stems[american(word)])
_morphemes = Memory(_word_morphemes)
_wholes = Memory(lambda token: " ".join(whole_terms(token)))
