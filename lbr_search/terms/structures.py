"""What identifies a chemical structure in a text: CAS numbers, InChI, InChIKey, formulas, SMILES.

Sources: CAS registry numbers and their check digit, cas.org/support/documentation/chemical-
substances/checkdig; InChI and InChIKey, Heller et al. 2015, doi:10.1186/s13321-015-0068-4; the
order of elements, Hill 1900, doi:10.1021/ja02046a005; SMILES, Weininger 1988,
doi:10.1021/ci00057a005, and opensmiles.org.
"""

from __future__ import annotations

import re
from collections import Counter

CAS = re.compile(r"(?<![\w-])([1-9]\d{1,6})-(\d\d)-(\d)(?![\w-])")
INCHI = re.compile(r"InChI=1S?/\S*[^\s;,.\]]", re.IGNORECASE)
INCHI_KEY = re.compile(r"(?<![A-Z-])[A-Z]{14}-[A-Z]{10}-[A-Z](?![A-Z-])")
ELEMENTS = frozenset(
    re.findall(
        r"\w+",
        "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn "
        "Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La "
        "Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po "
        "At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg "
        "Cn Nh Fl Mc Lv Ts Og D T",
    )
)
FORMULA = re.compile(r"(?:[A-Z][a-z]?\d*|[(\[]|[)\]]\d*)+")
FORMULA_PIECE = re.compile(r"([A-Z][a-z]?)(\d*)|([(\[])|([)\]])(\d*)")
CHARGE = re.compile(r"(?:\(\d*[+-]\)|[+-])$")
MOST_ATOMS = 9_999
"""Of one element in a formula; larger numbers are no formula, and would cost memory."""
SMILES_TOKEN = re.compile(
    r"(?P<bracket>\[[^\[\]\s]+\])|(?P<atom>Cl|Br|[BCNOPSFI])|(?P<aromatic>[bcnops])"
    r"|(?P<ring>%\d\d|\d)|(?P<open>\()|(?P<close>\))|(?P<bond>[-=#$:/\\.])"
)
SHORTEST_SMILES = 3
LONGEST_SMILES = 1_000
"""Characters; what is longer is treated as text."""


def inchis(text: str) -> list[str]:
    """InChI strings, without the bracket of the sentence around them.

    >>> inchis("(InChI=1S/CH2O2/c2-1-3/h1H,(H,2,3)).")
    ['InChI=1S/CH2O2/c2-1-3/h1H,(H,2,3)']
    """
    found = INCHI.findall(text)
    return [each[:-1] if each.count(")") > each.count("(") else each for each in found]


def cas_numbers(text: str) -> list[str]:
    """CAS registry numbers whose check digit is right.

    >>> cas_numbers("aspirin (50-78-2), not 50-78-3")
    ['50-78-2']
    """
    return [match[0] for match in CAS.finditer(text) if _is_checked(*match.groups())]


def _is_checked(first: str, second: str, check: str) -> bool:
    """The last digit is the sum of the others, each times its place from the right, modulo 10."""
    digits = reversed(first + second)
    return sum(place * int(digit) for place, digit in enumerate(digits, 1)) % 10 == int(check)


def hill_formula(text: str) -> str:
    """A molecular formula in Hill order, brackets resolved; "" where `text` is none.

    Without a number only mixtures with a two-letter symbol count (NaCl): HIV is made of symbols.

    >>> hill_formula("CH3CH2OH"), hill_formula("Ca(OH)2"), hill_formula("SO4(2-)")
    ('C2H6O', 'CaH2O2', 'O4S')
    >>> hill_formula("HIV"), hill_formula("Coal")
    ('', '')
    """
    bare = CHARGE.sub("", text) if text[-1:] in "+-)" else text
    if not FORMULA.fullmatch(bare):
        return ""
    atoms = _atoms(bare)
    has_number = any(map(str.isdigit, bare))
    has_two_letters = len(atoms) > 1 and any(len(symbol) == 2 for symbol in atoms)
    if not atoms or not (has_number or has_two_letters) or max(atoms.values()) > MOST_ATOMS:
        return ""
    first = ["C", "H"] if "C" in atoms else []
    order = [*(s for s in first if s in atoms), *sorted(atoms.keys() - set(first))]
    return "".join(s + (str(atoms[s]) if atoms[s] > 1 else "") for s in order)


def _atoms(formula: str) -> Counter[str]:
    """Atoms of each element; nothing where a symbol is unknown or a bracket stands alone."""
    stack: list[Counter[str]] = [Counter()]
    for symbol, count, opening, _, times in FORMULA_PIECE.findall(formula):
        if symbol:
            if symbol not in ELEMENTS:
                return Counter()
            stack[-1][symbol] += _number(count)
        elif opening:
            stack.append(Counter())
        elif len(stack) == 1:
            return Counter()
        else:
            for name, number in stack.pop().items():
                stack[-1][name] += number * _number(times)
    return stack[0] if len(stack) == 1 else Counter()


def _number(digits: str) -> int:
    return int(digits[:9]) if digits else 1


def seems_smiles(text: str) -> bool:
    """Whether `text` is written in the signs of SMILES, some beyond letters, if perhaps wrongly.

    It begins with an atom and holds two atoms or more: what a reader would take for a slip in
    SMILES, not for a word or a number.

    >>> seems_smiles("CC(=O"), seems_smiles("C1CC"), seems_smiles("cops"), seems_smiles("B12")
    (True, True, False, False)
    """
    if not SHORTEST_SMILES <= len(text) <= LONGEST_SMILES:
        return False
    kinds: Counter[str] = Counter()
    place = 0
    while place < len(text):
        token = SMILES_TOKEN.match(text, place)
        if token is None:
            return False
        kind = str(token.lastgroup)
        if not place and kind not in ("atom", "aromatic", "bracket"):
            return False
        kinds[kind] += 1
        place = token.end()
    n_atoms = kinds["atom"] + kinds["aromatic"] + kinds["bracket"]
    n_signs = sum(kinds.values()) - kinds["atom"] - kinds["aromatic"]
    return n_atoms > 1 and n_signs > 0


def is_smiles(text: str) -> bool:
    """Whether `text` reads as SMILES: atoms, bonds, paired rings and brackets, some carbon.

    Valence is not looked at (RDKit does, where it is there). Chains of capital letters alone pass
    (CCO), small letters need a ring: "cops" is a word.

    >>> is_smiles("CC(=O)Oc1ccccc1C(=O)O"), is_smiles("C1CC"), is_smiles("cops"), is_smiles("CO2")
    (True, False, False, False)
    """
    if not SHORTEST_SMILES <= len(text) <= LONGEST_SMILES:
        return False
    kinds: Counter[str] = Counter()
    open_rings: set[str] = set()
    depth = place = 0
    while place < len(text):
        token = SMILES_TOKEN.match(text, place)
        if token is None:
            return False
        kind = str(token.lastgroup)
        if not place and kind in ("ring", "bond", "open", "close"):
            return False
        kinds[kind] += 1
        depth += (kind == "open") - (kind == "close")
        if depth < 0:
            return False
        if kind == "ring":
            open_rings ^= {token[0].lstrip("%0")}
        place = token.end()
    has_carbon = "C" in text.replace("Cl", "") or "c" in text
    is_closed = not depth and not open_rings and kind not in ("bond", "open")
    return has_carbon and is_closed and (not kinds["aromatic"] or kinds["ring"] > 1)
