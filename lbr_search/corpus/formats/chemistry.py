"""Chemistry: SDF and MOL files, tables of SMILES or InChI. No toolkit is needed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lbr_search.corpus.compressed import kind_suffix, read_lines
from lbr_search.corpus.each import read_each
from lbr_search.corpus.outline import one_line
from lbr_search.corpus.records import RowConverter, choose_columns, metadata_value
from lbr_search.corpus.tables import delimited_rows
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document, MetadataValue

MAX_TAG_CHARS = 20_000
"""Of one value of an SDF; longer ones are fingerprints and spectra, and are cut and counted."""

_ID_TAGS = ("chebi id", "pubchem_compound_cid", "chembl_id", "database_id", "id", "cas")
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

    The id is that of a known tag (ChEBI, PubChem, ChEMBL), else the name, with the number of the
    record where that name stood before, else that number. An id that a tag repeats is rejected.
    """
    return read_each(path, _parse_sdf, (".sdf", ".sd", ".mol"), options=options, rejects=rejects)


def read_compounds(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Compounds of .smi, .smiles and .inchi files (structure, blank, name), and of tables.

    A table (.csv, .tsv) needs a SMILES or InChI column: every column is a line of the text.
    """
    suffixes = (".smi", ".smiles", ".inchi", ".csv", ".tsv")
    return read_each(path, _parse_compounds, suffixes, options=options, rejects=rejects)


@dataclass(slots=True)
class _Record:
    """What of one structure is text."""

    name: str = ""
    tags: dict[str, list[str]] = field(default_factory=dict)
    n_lines: int = 0
    n_cut: int = 0
    _n_chars: dict[str, int] = field(default_factory=dict)

    def add(self, tag: str, line: str) -> None:
        n_chars = self._n_chars.get(tag, 0) + len(line) + 1
        if n_chars > MAX_TAG_CHARS:
            self.n_cut += 1
            return
        self._n_chars[tag] = n_chars
        self.tags.setdefault(tag, []).append(line)


def _parse_sdf(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    seen: set[str] = set()
    for number, record in enumerate(_sdf_records(file, rejects), start=1):
        document, has_own_id = _compound(record, file, number, options.domain)
        if document.doc_id in seen and has_own_id:
            rejects.add(file, number, f"repeated id: {document.doc_id!r}")
            continue
        if document.doc_id in seen:  # conformers, or a program's name in place of the compound's
            document = dataclasses.replace(document, doc_id=f"{document.doc_id}:{number}")
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


def _compound(record: _Record, file: Path, number: int, domain: str) -> tuple[Document, bool]:
    """The document of a record, and whether one of its tags is its id."""
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
    name = by_name.get("name", [record.name])[0]
    doc_id = file.name if is_alone else own or name or f"{file.name}::{number}"
    document = Document(doc_id, "\n".join(lines), title or own or file.stem, domain, metadata)
    return document, bool(own)


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
