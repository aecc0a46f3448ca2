"""Real files of every format, written with the formats' own libraries where there are some."""

from __future__ import annotations

import gzip
import json
import sqlite3
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROWS = [("1", "One", "first text"), ("2", "Two", "second text")]


def write_pdf(path: Path, pages: Sequence[str], *, title: str = "", password: str = "") -> Path:
    """A PDF with one line of text a page, by pypdf; an empty string is a page without text."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
    for text in pages:
        page = writer.add_blank_page(612, 792)
        if text:
            lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n"))
            content = DecodedStreamObject()
            content.set_data(f"BT /F1 12 Tf 72 720 Td {lines} ET".encode("latin-1"))
            page[NameObject("/Contents")] = writer._add_object(content)
            page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    if title:
        writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(path)
    return path


def write_docx(path: Path, title: str = "Protocol") -> Path:
    """A Word document with headings and a table, by python-docx."""
    import docx

    made = docx.Document()
    made.core_properties.title = title
    made.add_heading("Dosing", level=1)
    made.add_paragraph("Give the tablet with water.")
    made.add_heading("Children", level=2)
    made.add_paragraph("Halve the dose.")
    table = made.add_table(rows=2, cols=2)
    for row, cells in zip(table.rows, (("age", "mg"), ("6 to 12", "250")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    made.save(path)
    return path


CONTAINER = """<?xml version="1.0"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="EPUB/content.opf" media-type="application/oebps-package+xml"/>
</rootfiles></container>"""
PACKAGE = """<?xml version="1.0"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">{title}</dc:identifier>
<dc:title>{title}</dc:title><dc:language>en</dc:language><dc:creator>A. Writer</dc:creator>
</metadata>
<manifest>{items}</manifest><spine>{spine}</spine></package>"""
CHAPTER = """<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">
<head><title>Chapter {number}</title></head>
<body><h1>Chapter {number}</h1><p>{text}</p><script>no()</script></body></html>"""


def write_epub(path: Path, title: str = "A Small Book", chapter: str = CHAPTER) -> Path:
    """A book of two chapters as EPUB 3 says: container, package, chapters; `mimetype` first."""
    texts = {1: "The storm came at night.", 2: "The sea was calm."}
    # stored in the other order, so that only the spine tells how to read; a space in each name
    items = "".join(
        f'<item id="c{n}" href="chap%20{n}.xhtml" media-type="application/xhtml+xml"/>'
        for n in sorted(texts, reverse=True)
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in texts)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        packed.writestr("META-INF/container.xml", CONTAINER)
        package = PACKAGE.format(title=title, items=items, spine=spine)
        packed.writestr("EPUB/content.opf", package)
        for n in sorted(texts, reverse=True):
            packed.writestr(f"EPUB/chap {n}.xhtml", chapter.format(number=n, text=texts[n]))
    return path


def write_notebook(path: Path) -> Path:
    """A notebook of text, code and output, by nbformat."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

    code = new_code_cell("print(2 + 2)", outputs=[new_output("stream", text="4\n")])
    cells = [new_markdown_cell("# Sums\n\nAdds numbers."), code, new_markdown_cell("## End")]
    nbformat.write(new_notebook(cells=cells), str(path))
    return path


def write_html(path: Path, title: str = "Garden notes") -> Path:
    """A page with a menu, an article and a footer."""
    article = "".join(
        f"<p>Paragraph {n} tells at some length how tomatoes are grown in a cold garden.</p>"
        for n in range(5)
    )
    path.write_text(
        f"<!doctype html><html lang=en><head><title>{title}</title></head><body>"
        "<nav><a href=/>Home</a><a href=/shop>Shop</a></nav>"
        f"<article><h1>{title}</h1>{article}<h2>Watering</h2>{article}</article>"
        "<footer>Cookies and terms</footer><script>var x = 1</script></body></html>",
        "utf-8",
    )
    return path


def pubmed_xml(articles: Sequence[tuple[int, str, str]], deleted: Sequence[int] = ()) -> bytes:
    """A PubMed file as NLM gives them, with its document type."""
    from lxml import etree

    root = etree.Element("PubmedArticleSet")
    for pmid, title, abstract in articles:
        article = etree.SubElement(root, "PubmedArticle")
        citation = etree.SubElement(article, "MedlineCitation")
        etree.SubElement(citation, "PMID", Version="1").text = str(pmid)
        inner = etree.SubElement(citation, "Article")
        journal = etree.SubElement(inner, "Journal")
        date = etree.SubElement(etree.SubElement(journal, "JournalIssue"), "PubDate")
        etree.SubElement(date, "Year").text = "2019"
        etree.SubElement(journal, "Title").text = "Journal of Tests"
        etree.SubElement(inner, "ArticleTitle").text = title
        holder = etree.SubElement(inner, "Abstract")
        etree.SubElement(holder, "AbstractText", Label="METHODS").text = abstract
        etree.SubElement(inner, "Language").text = "eng"
        headings = etree.SubElement(citation, "MeshHeadingList")
        for name in ("Humans", "Aspirin"):
            heading = etree.SubElement(headings, "MeshHeading")
            etree.SubElement(heading, "DescriptorName").text = name
        ids = etree.SubElement(etree.SubElement(article, "PubmedData"), "ArticleIdList")
        etree.SubElement(ids, "ArticleId", IdType="doi").text = f"10.1/{pmid}"
    if deleted:
        holder = etree.SubElement(root, "DeleteCitation")
        for pmid in deleted:
            etree.SubElement(holder, "PMID", Version="1").text = str(pmid)
    doctype = (
        '<!DOCTYPE PubmedArticleSet SYSTEM "https://dtd.nlm.nih.gov/ncbi/pubmed/pubmed_250101.dtd">'
    )
    return etree.tostring(root, xml_declaration=True, encoding="utf-8", doctype=doctype)


JATS = """<?xml version="1.0"?>
<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96)//EN" "JATS-archivearticle1.dtd">
<article article-type="research-article" xmlns:mml="http://www.w3.org/1998/Math/MathML">
<front><journal-meta><journal-title-group><journal-title>J. Tests</journal-title>
</journal-title-group></journal-meta>
<article-meta><article-id pub-id-type="pmc">PMC77</article-id>
<article-id pub-id-type="doi">10.1/77</article-id>
<title-group><article-title>Effects of {title}</article-title></title-group>
<contrib-group><contrib><name><surname>Nobody</surname></name></contrib></contrib-group>
<pub-date><year>2021</year></pub-date>
<abstract><p>We measured &alpha; and found little.</p></abstract></article-meta></front>
<body><sec><title>Methods</title><p>Ten mice were weighed
 [<xref ref-type="bibr" rid="b1">1</xref>,<xref ref-type="bibr" rid="b2">2</xref>] daily.</p>
<sec><title>Doses</title><p>They got <italic>5</italic> mg.</p>
<table-wrap><label>Table 1</label><caption><p>Weights</p></caption>
<table><thead><tr><th>day</th><th>g</th></tr></thead>
<tbody><tr><td>1</td><td>20.5</td></tr></tbody></table></table-wrap>
<disp-formula><tex-math>$$ y = a x $$</tex-math></disp-formula></sec></sec>
<sec><title>Results</title><p>None (<xref ref-type="fig" rid="f1">Figure 1</xref>).</p></sec></body>
<back><ref-list><ref id="b1"><mixed-citation>A cited paper</mixed-citation></ref></ref-list></back>
</article>
"""

NBIB = """PMID- 11
TI  - A long title that goes
      on in a second line
AB  - The abstract.
JT  - Journal of Tests
DP  - 2018 Mar
LID - 10.1/11 [doi]
MH  - Humans
MH  - *Aspirin

PMID- 12
TI  - Another
AB  - More text.
"""

OBO = """format-version: 1.2

[Term]
id: T:1
name: heart valve
def: "A flap \\"of tissue\\" in the heart." [src:1]
synonym: "cardiac valve" EXACT []
is_a: T:0 ! organ part
xref: UBERON:1 "x"

[Term]
id: T:2
name: aortic valve
def: "The valve of the aorta." []

[Term]
id: T:3
name: gone
is_obsolete: true

[Typedef]
id: part_of
name: part of
"""

SDF = """aspirin
  made by hand

  3  2  0  0  0  0            999 V2000
    0.0000    0.0000    0.0000 C   0  0
    1.0000    0.0000    0.0000 O   0  0
    2.0000    0.0000    0.0000 O   0  0
  1  2  2  0
  1  3  1  0
M  END
> <ChEBI ID>
CHEBI:15365

> <ChEBI Name>
acetylsalicylic acid

> <Synonyms>
aspirin
2-acetoxybenzoic acid

> <Formulae>
C9H8O4

$$$$
ethanol

  0  0  0
M  END
> <SMILES>
CCO

$$$$
"""

CIF = """data_quartz
_chemical_name_mineral 'Quartz'
_chemical_formula_sum 'O2 Si'
_cell_length_a 4.916
_symmetry_space_group_name_H-M 'P 32 2 1'
_publ_section_title
;
 Structure of quartz
 at room temperature
;
loop_
_atom_site_label
_atom_site_fract_x
Si 0.4697
O 0.4135
data_halite
_chemical_name_mineral Halite
"""


def study(nct: str) -> dict[str, object]:
    """A study as the API of ClinicalTrials.gov gives it."""
    return {
        "protocolSection": {
            "identificationModule": {"nctId": nct, "officialTitle": f"A trial {nct}"},
            "statusModule": {"overallStatus": "COMPLETED", "startDateStruct": {"date": "2020-03"}},
            "descriptionModule": {"briefSummary": "Tests a drug.", "detailedDescription": "Long."},
            "conditionsModule": {"conditions": ["Asthma", "Cough"]},
            "designModule": {"studyType": "INTERVENTIONAL", "phases": ["PHASE2"]},
            "armsInterventionsModule": {
                "interventions": [{"name": "Salbutamol", "description": "inhaled"}]
            },
            "outcomesModule": {"primaryOutcomes": [{"measure": "FEV1"}]},
            "eligibilityModule": {"eligibilityCriteria": "Inclusion:\n* adults"},
        }
    }


def write_sqlite(path: Path) -> Path:
    """A database with a table of text, an empty one, and one without text."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE notes (id INTEGER, title TEXT, text TEXT, picture BLOB)")
        database.executemany("INSERT INTO notes VALUES (?, ?, ?, x'00')", ROWS)
        database.execute("INSERT INTO notes VALUES (3, 'Bad', NULL, NULL)")
        database.execute("CREATE TABLE numbers (a INTEGER)")
    database.close()
    return path


def write_arrow(path: Path, *, is_stream: bool = False) -> Path:
    """A table of the rows and one without text, as a file or a stream."""
    import pyarrow as pa

    columns = [*zip(*ROWS, strict=True)]
    names = ("_id", "title", "text")
    table = pa.table({n: [*c, None] for n, c in zip(names, columns, strict=True)})
    make = pa.ipc.new_stream if is_stream else pa.ipc.new_file
    with make(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


def json_lines() -> str:
    return "".join(json.dumps({"_id": i, "title": t, "text": x}) + "\n" for i, t, x in ROWS)


def source_for(name: str, folder: Path) -> Path:
    """A source of a reader: two documents or more, and one thing that must be rejected."""
    written = folder / f"source{SUFFIX.get(name, '')}"
    if name in SINGLE:
        written.write_text(SINGLE[name]())
        return written
    make = globals().get(f"_{name.replace('-', '_')}_source")
    assert make is not None, f"write a source for the reader {name}"
    return make(folder)


SUFFIX = {
    **{name: f".{name}" for name in ("jsonl", "json", "csv", "tsv", "nbib", "obo", "cif", "sdf")},
    "compounds": ".smi",
    "trials": ".json",
}
SINGLE = {
    "jsonl": lambda: json_lines() + "{\n",
    "json": lambda: json.dumps(
        [*map(json.loads, json_lines().splitlines()), {"_id": "3", "text": 7}]
    ),
    "csv": lambda: "\n".join(",".join(r) for r in [("_id", "title", "text"), *ROWS, ("3",)]),
    "tsv": lambda: "\n".join("\t".join(r) for r in [("_id", "title", "text"), *ROWS, ("3",)]),
    "trials": lambda: json.dumps({"studies": [study("NCT1"), study("NCT2"), {"other": 1}]}),
    "nbib": lambda: NBIB + "\nPMID- x\nTI  - no number\n",
    "obo": lambda: OBO + "\n[Term]\nname: without id\n",
    "sdf": lambda: (
        SDF + SDF.partition("$$$$")[0].replace("CHEBI:15365", "CHEBI:1") + "$$$$\n"
        "again\n\n\nM  END\n> <ChEBI ID>\nCHEBI:1\n\n$$$$\n"
    ),
}


def _beir_source(folder: Path) -> Path:
    (folder / "corpus.jsonl").write_text(json_lines() + "{\n")
    return folder


def _text_source(folder: Path) -> Path:
    for doc_id, title, text in ROWS:
        (folder / f"{doc_id}.md").write_text(f"# {title}\n{text}\n")
    (folder / "bad.txt").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x01")
    return folder


def _python_source(folder: Path) -> Path:
    (folder / "m.py").write_text("def one(): return 1\n\n\ndef two(): return 2\n")
    (folder / "bad.py").write_text("def (\n")
    return folder


def _code_source(folder: Path) -> Path:
    (folder / "m.js").write_text("function one() { return 1 }\n\nfunction two() { return 2 }\n")
    (folder / "bad.go").write_bytes(b"\xff\xfe\x00")
    return folder


def _python_stdlib_source(folder: Path) -> Path:
    (folder / "SOURCE.json").write_text('{"reader": "python-stdlib", "modules": ["bisect"]}')
    return folder


def _parquet_source(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [*zip(*ROWS, strict=True)]
    table = {n: [*c, None] for n, c in zip(("_id", "title", "text"), columns, strict=True)}
    pq.write_table(pa.table(table), folder / "table.parquet")
    return folder / "table.parquet"


def _arrow_source(folder: Path) -> Path:
    return write_arrow(folder / "table.arrow")


def _sqlite_source(folder: Path) -> Path:
    return write_sqlite(folder / "notes.db")


def write_query(folder: Path, **values: str) -> Path:
    """A file of a query for the database of `write_sqlite`."""
    write_sqlite(folder / "notes.db")
    asked = {"url": "sqlite:///notes.db", "query": "SELECT * FROM notes", **values}
    path = folder / "notes.sql.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in asked.items()))
    return path


def _sql_source(folder: Path) -> Path:
    return write_query(folder)


def _pubmed_source(folder: Path) -> Path:
    whole = pubmed_xml([(1, "One", "first"), (2, "Two", "second"), (3, "Bad", "third")])
    broken = whole.replace(b'<PMID Version="1">3</PMID>', b"<PMID>x</PMID>")
    (folder / "pubmed25n0001.xml.gz").write_bytes(gzip.compress(broken))
    return folder / "pubmed25n0001.xml.gz"


def _jats_source(folder: Path) -> Path:
    for name in ("a", "b"):
        (folder / f"{name}.nxml").write_text(JATS.replace("{title}", name))
    (folder / "bad.nxml").write_text(JATS[:900])
    return folder


def _compounds_source(folder: Path) -> Path:
    (folder / "c.smi").write_bytes(b"CCO ethanol\nCO\tmethanol\n\xff bad\n")
    return folder / "c.smi"


def _cif_source(folder: Path) -> Path:
    (folder / "c.cif").write_bytes(CIF.encode() + b"\xff\n")
    return folder / "c.cif"


def _pdf_source(folder: Path) -> Path:
    write_pdf(folder / "a.pdf", ["Page one of a."], title="First file")
    write_pdf(folder / "b.pdf", ["Page one of b.", "Page two of b."])
    (folder / "bad.pdf").write_bytes((folder / "a.pdf").read_bytes()[:200])
    return folder


def _html_source(folder: Path) -> Path:
    write_html(folder / "a.html")
    write_html(folder / "b.htm", "Other notes")
    (folder / "bad.html").write_text("")
    return folder


def _docx_source(folder: Path) -> Path:
    write_docx(folder / "a.docx")
    write_docx(folder / "b.docx", "Other")
    (folder / "bad.docx").write_bytes((folder / "a.docx").read_bytes()[:3000])
    return folder


def _epub_source(folder: Path) -> Path:
    write_epub(folder / "a.epub")
    write_epub(folder / "b.epub", "Other")
    (folder / "bad.epub").write_bytes(b"PK\x03\x04 not a book")
    return folder


def _notebook_source(folder: Path) -> Path:
    write_notebook(folder / "a.ipynb")
    write_notebook(folder / "b.ipynb")
    (folder / "bad.ipynb").write_text('{"cells": 3}')
    return folder


def _files_source(folder: Path) -> Path:
    (folder / "src").mkdir()
    (folder / "src" / "a.js").write_text("function one() { return 1 }\n")
    (folder / "README.md").write_text("# Title\n\nText.\n")
    (folder / "rows.jsonl").write_text(json_lines())
    (folder / "bad.txt").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x01")
    return folder


def _archive_source(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "all.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("docs/a.md", "# One\n\nText.\n")
        packed.writestr("rows.jsonl", json_lines())
        packed.writestr("../outside.md", "no")
    return folder / "all.zip"


def write_tar(path: Path, files: dict[str, bytes], *, mode: str = "w:gz") -> Path:
    """A tar archive of some files."""
    import io

    with tarfile.open(path, mode) as packed:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return path
