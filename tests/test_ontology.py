"""Ontologies: what is read of OBO and CSV, which synonyms a query gets, and bad files."""

from __future__ import annotations

import pytest

from lbr_search.errors import ConfigError
from lbr_search.search.ontology import Entry, Ontology, load_ontology
from lbr_search.types import Expansion

OBO = r"""format-version: 1.4

[Term]
id: X:1
name: myocardial infarction
synonym: "heart attack" EXACT []
synonym: "attack" BROAD []
synonym: "MI \"classic\"" []

[Term]
id: X:2
name: gone
synonym: "vanished" EXACT []
is_obsolete: true

[Typedef]
id: part_of
name: part of
synonym: "in" EXACT []
"""


def test_obo_names_and_scopes(tmp_path):
    """Terms give name and synonyms with the weight of their scope; obsolete ones are left out."""
    (tmp_path / "x.obo").write_text(OBO, "utf-8")
    ontology = load_ontology(tmp_path / "x.obo")
    assert ontology.expansions("after a Heart-Attack") == [
        Expansion("x.obo", "heart attack", "myocardial infarction", 0.5),
        Expansion("x.obo", "heart attack", "attack", 0.25),
        Expansion("x.obo", "heart attack", 'MI "classic"', 0.25),
    ]
    assert ontology.expansions("gone in part of it") == []


def test_csv_names(tmp_path):
    """Lines of one name make one entry; each name brings the others; other columns are ignored."""
    (tmp_path / "x.csv").write_text(
        'id,name,synonym\n1,ethanol,"alcohol, grain"\n2,ethanol,EtOH\n3,,x\n', "utf-8"
    )
    ontology = load_ontology(tmp_path / "x.csv")
    assert [e.added for e in ontology.expansions("etoh in wine")] == ["ethanol", "alcohol, grain"]
    assert [e.added for e in ontology.expansions("alcohol grain")] == ["ethanol", "EtOH"]


def test_the_longest_name_counts():
    """Of names that overlap the longest from the left is taken."""
    entries = [Entry((("acid", 0.5), ("proton donor", 0.5)))]
    entries.append(Entry((("acetic acid", 0.5), ("ethanoic acid", 0.5))))
    ontology = Ontology(entries, source="x")
    assert [e.added for e in ontology.expansions("acetic acid, an acid")] == [
        "ethanoic acid",
        "proton donor",
    ]
    assert ontology.expansions("") == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.owl", b"", "no ontology"),
        ("y.obo", None, "does not exist"),
        ("x.obo", b"\xff\xfe", "cannot be read"),
        ("x.obo", b"", "holds no synonym"),
        ("x.csv", b"", "lacks the columns name, synonym"),
        ("x.csv", b"name,other\na,b\n", "lacks the columns synonym"),
        ("x.csv", b"name,synonym\n", "holds no synonym"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    """Each wrong file is an error that names it and says what to do."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_ontology(tmp_path / name)
