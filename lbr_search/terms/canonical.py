"""A structure written as SMILES or InChI -> its InChIKey, with RDKit where it is installed.

The key is the canonical form that a text may also hold as it is, so all three ways to write one
structure meet in one term. Without RDKit (extra ``chem``) each way matches itself alone.
"""

from __future__ import annotations

import importlib.util
from functools import cache


@cache
def has_rdkit() -> bool:
    """Whether RDKit is installed; nothing is imported."""
    return importlib.util.find_spec("rdkit") is not None


def canonical_form(structure: str) -> str | None:
    """The InChIKey of a SMILES or InChI, in lower case; the canonical SMILES where it has none.

    Returns:
        "" without RDKit, which cannot say; None where RDKit finds that it is no structure.
    """
    if not has_rdkit():
        return ""
    # heavy (0.3 s, 100 MB), and needed only where a text holds a structure
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():  # what is no structure is text: no news
        is_inchi = structure[:6].lower() == "inchi="
        molecule = Chem.MolFromInchi(structure) if is_inchi else Chem.MolFromSmiles(structure)
        if molecule is None:
            return None
        key = str(Chem.MolToInchiKey(molecule)).lower()
    return key or f"smiles:{Chem.MolToSmiles(molecule)}"
