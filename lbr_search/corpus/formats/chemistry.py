"""Chemistry: SDF and MOL files, tables of SMILES or InChI, CIF headers. No toolkit is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lbr_search.corpus.compressed import read_lines
from lbr_search.corpus.each import kind_suffix, read_each
from lbr_search.corpus.outline import one_line
from lbr_search.corpus.records import RowConverter, choose_columns, metadata_value
from lbr_search.corpus.tables import delimited_rows
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document, MetadataValue

MAX_TAG_CHARS = 20_000
"""Of one value of an SDF; longer ones are fingerprints and spectra, and are cut and counted."""

_ID_TAGS = ("chebi id", "pubchem_compound_cid", "chembl_id", "database_id", "id", "cas", "name")
_NAME_TAGS = (
    *("chebi name", "pubchem_iupac_traditional_name", "pubchem_iupac_name", "generic_name"),
    *("preferred name", "name", "title", "iupac name"),
)
_KEPT_TAGS = {
    **dict.fromkeys(("formulae", "formula", "pubchem_molecular_formula"), "formula"),
    **dict.fromkeys(("inchikey", "pubchem_iupac_inchikey", "inchi_key"), "inchikey"),
    **dict.fromkeys(("smiles", "pubchem_openeye_can_smiles", "pubchem_smiles"), "smiles"),
    **dict.fromkeys(("mass", "pubchem_molecular_weight", "molecular_weight"), "mass"),
}
_TAG = re.compile(r"^>.*?<([^>]+)>")
STRUCTURE_COLUMNS = frozenset(
    {"smiles", "canonical_smiles", "isosmiles", "isomericsmiles", "inchi", "inchikey"}
)
_NAME_COLUMNS = ("name", "title", "iupacname", "iupac_name", "cmpdname", "chebi_name", "compound")
_ROW_IDS = ("cid", "chebi_id", "chembl_id", "compound_id", "cmpdid", "cas")


def read_sdf(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Compounds of .sdf, .sd and .mol files, plain or compressed: names and tags, as lines of text.

    The id is that of a known tag (ChEBI, PubChem, ChEMBL), else the name line, else the number.
    """
    return read_each(path, _parse_sdf, (".sdf", ".sd", ".mol"), options=options, rejects=rejects)


def read_compounds(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Compounds of .smi, .smiles and .inchi files (structure, blank, name), and of tables.

    A table (.csv, .tsv) needs a SMILES or InChI column: every column is a line of the text.
    """
    suffixes = (".smi", ".smiles", ".inchi", ".csv", ".tsv")
    return read_each(path, _parse_compounds, suffixes, options=options, rejects=rejects)


def read_cif(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Headers of crystal structures (.cif): names, formula, cell, symmetry, publication."""
    return read_each(path, _parse_cif, (".cif",), options=options, rejects=rejects)


@dataclass(slots=True)
class _Record:
    """What of one structure is text."""

    name: str = ""
    tags: dict[str, list[str]] = field(default_factory=dict)
    n_lines: int = 0
    n_cut: int = 0

    def add(self, tag: str, line: str) -> None:
        values = self.tags.setdefault(tag, [])
        if sum(map(len, values)) + len(line) <= MAX_TAG_CHARS:
            values.append(line)
        else:
            self.n_cut += 1


def _parse_sdf(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    seen: set[str] = set()
    for number, record in enumerate(_sdf_records(file, rejects), start=1):
        document = _compound(record, file, number, options.domain)
        if document.doc_id in seen:
            rejects.add(file, number, f"repeated id: {document.doc_id!r}")
            continue
        seen.add(document.doc_id)
        if record.n_cut:
            rejects.skip(file, f"lines of a tag over {MAX_TAG_CHARS:,} characters: {record.n_cut}")
        yield document


def _sdf_records(file: Path, rejects: RejectSink) -> Iterator[_Record]:
    """Records up to ``$$$$``. Atoms and bonds pass by, line by line: a million are no load."""
    record, tag, is_data = _Record(), "", False
    for number, raw in read_lines(file):
        record.n_lines += 1
        if not is_data and record.n_lines > 1 and raw[:1] not in (b"M", b">", b"$"):
            continue  # atoms and bonds
        line = _sdf_line(raw, file, number, rejects)
        if line == "$$$$":
            yield record
            record, tag, is_data = _Record(), "", False
        elif record.n_lines == 1:
            record.name = line.strip()
        elif line.startswith("M  END"):
            is_data = True
        elif match := _TAG.match(line):
            tag, is_data = match[1].strip(), True
        elif not line:
            tag = ""
        elif is_data and tag:
            record.add(tag, line.strip())
    if record.n_lines > 1:  # a MOL file, or a last record without its mark
        yield record


def _sdf_line(raw: bytes, file: Path, number: int, rejects: RejectSink) -> str:
    line = raw.decode("utf-8", "replace").rstrip()
    if "\N{REPLACEMENT CHARACTER}" in line and b"\xef\xbf\xbd" not in raw:
        rejects.add(file, number, "not UTF-8: the line is read with marks in their place")
    return line


def _compound(record: _Record, file: Path, number: int, domain: str) -> Document:
    by_name = {tag.lower(): values for tag, values in record.tags.items()}
    own = next((by_name[tag][0] for tag in _ID_TAGS if by_name.get(tag)), "")
    title = next((by_name[tag][0] for tag in _NAME_TAGS if by_name.get(tag)), record.name)
    is_alone = file.suffix.lower() == ".mol"
    metadata: dict[str, MetadataValue] = {
        _KEPT_TAGS[tag]: values[0]
        for tag, values in by_name.items()
        if tag in _KEPT_TAGS and values
    }
    lines = [f"{tag}: {'; '.join(values)}" for tag, values in record.tags.items() if values]
    doc_id = file.name if is_alone else own or record.name or f"{file.name}::{number}"
    return Document(doc_id, "\n".join(lines), title or own or file.stem, domain, metadata)


def _parse_compounds(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    if kind_suffix(file) in (".csv", ".tsv"):
        yield from _parse_table(file, options, rejects)
        return
    kind = "InChI" if kind_suffix(file) == ".inchi" else "SMILES"
    for number, raw in read_lines(file):
        try:
            structure, _, name = raw.decode("utf-8").strip().partition(" ")
        except UnicodeDecodeError as error:
            rejects.add(file, number, f"not UTF-8: {error.reason} at byte {error.start}")
            continue
        structure, tab, rest = structure.partition("\t")
        name = one_line(f"{rest} {name}" if tab else name)
        if not structure or structure.lower() in STRUCTURE_COLUMNS:  # blank, or a header
            continue
        metadata = {} if kind == "InChI" else {"smiles": structure}
        yield Document(
            f"{file.name}::{number}", f"{kind}: {structure}", name, options.domain, metadata
        )


def _parse_table(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Rows whose text is made of all their columns, each after its name."""
    converter: RowConverter | None = None
    for line, row in delimited_rows(file, rejects):
        lower = {name.lower(): name for name in row}
        if converter is None:
            names = [*row, "text"]
            id_column = next((lower[name] for name in _ROW_IDS if name in lower), None)
            title = next((lower[name] for name in _NAME_COLUMNS if name in lower), None)
            chosen = ReadOptions(
                options.id_column or id_column, options.title_column or title, "text"
            )
            columns = choose_columns(names, chosen, file=file)
            converter = RowConverter(file, columns, domain=options.domain, rejects=rejects)
        text = "\n".join(f"{name}: {value}" for name, value in row.items() if value)
        kept = {n: metadata_value(row[n]) for n in row if n.lower() in STRUCTURE_COLUMNS and row[n]}
        ids = {name: row[name] for name in (converter.columns.id, converter.columns.title) if name}
        document = converter.convert({**kept, **ids, "text": text}, line)
        if document is not None:
            yield document


_CIF_TITLES = ("_chemical_name_common", "_chemical_name_systematic", "_chemical_name_mineral")
_CIF_KEPT = {
    "_chemical_formula_sum": "formula",
    "_symmetry_space_group_name_h-m": "space_group",
    "_space_group_name_h-m_alt": "space_group",
    "_cell_volume": "cell_volume",
    "_journal_year": "year",
}
_CIF_GROUPS = (
    "_chemical_",
    "_publ_",
    "_journal_",
    "_cell_",
    "_symmetry_",
    "_space_group_name",
    "_exptl_crystal_",
)


def _parse_cif(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    blocks = list(_cif_blocks(file, rejects))
    for name, items in blocks:
        title = next((items[key] for key in _CIF_TITLES if items.get(key)), name)
        lines = [f"{key[1:].replace('_', ' ')}: {value}" for key, value in items.items()]
        metadata: dict[str, MetadataValue] = {
            _CIF_KEPT[key]: value for key, value in items.items() if key in _CIF_KEPT
        }
        doc_id = file.name if len(blocks) == 1 else f"{file.name}::{name}"
        yield Document(doc_id, "\n".join(lines), title, options.domain, metadata)


def _cif_blocks(file: Path, rejects: RejectSink) -> Iterator[tuple[str, dict[str, str]]]:
    """(Name, item -> value) of each data block; loops of coordinates are passed over."""
    name, key = "", ""
    items: dict[str, str] = {}
    for number, line, is_text in _cif_lines(file, rejects):
        if is_text or (key and line.strip() and not line.startswith(("#", "loop_", "_"))):
            _keep(items, key, line)
            key = ""
        elif line.lower().startswith("data_"):
            if name:
                yield name, items
            name, items, key = line[5:].strip() or f"block {number}", {}, ""
        elif line.startswith("_"):
            key, _, value = line.partition(" ")
            key = key.lower()
            if value.strip():
                _keep(items, key, value)
                key = ""
        else:
            key = ""
    if name:
        yield name, items


def _cif_lines(file: Path, rejects: RejectSink) -> Iterator[tuple[int, str, bool]]:
    """(Number, line, whether it is a text): what stands between semicolons is one line."""
    text: list[str] | None = None
    for number, raw in read_lines(file):
        try:
            line = raw.decode("utf-8").rstrip()
        except UnicodeDecodeError as error:
            rejects.add(file, number, f"not UTF-8: {error.reason} at byte {error.start}")
            continue
        if text is not None and line.startswith(";"):
            yield number, "\n".join(text), True
            text = None
        elif text is not None:
            text.append(line)
        elif line.startswith(";"):
            text = [line[1:]]
        else:
            yield number, line, False


def _keep(items: dict[str, str], key: str, value: str) -> None:
    text = one_line(value).strip("'\"")
    if key.startswith(_CIF_GROUPS) and text not in ("", "?", "."):
        items.setdefault(key, text)
