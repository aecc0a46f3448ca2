"""What the speed of readers is measured on: files of each format, of made-up words from a seed."""

from __future__ import annotations

import gzip
import json
import random
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

SYLLABLES = (
    *("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru"),
    *("sa", "te", "vi", "xo", "zu", "mar", "ten", "sol", "pin", "dor"),
)
WORDS_PER_TEXT = 180
"""About the length of an abstract."""


class Words:
    """Texts of made-up words, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._words = [
            "".join(self._random.choices(SYLLABLES, k=self._random.randint(1, 4)))
            for _ in range(4_000)
        ]

    def text(self, n_words: int = WORDS_PER_TEXT) -> str:
        """Sentences of some words each."""
        words = self._random.choices(self._words, k=n_words)
        for at in range(12, n_words, 13):
            words[at] += "."
        return " ".join(words).capitalize() + "."

    def name(self) -> str:
        """A word."""
        return self._random.choice(self._words)


Write = Callable[[Path, Words, int], None]


def write_sample(reader: str, folder: Path, *, n_documents: int, seed: int = 7) -> Path:
    """Write about `n_documents` documents for a reader into `folder`; returns the source."""
    suffix = FILE_OF.get(reader)
    path = folder / suffix if suffix else folder
    WRITERS[reader](path, Words(seed), n_documents)
    return path


def _jsonl(path: Path, words: Words, n: int) -> None:
    rows = (
        json.dumps({"_id": f"d{i}", "title": words.text(8), "text": words.text()}) for i in range(n)
    )
    path.write_text("\n".join(rows), "utf-8")


def _csv(path: Path, words: Words, n: int) -> None:
    rows = (f'd{i},"{words.text(8)}","{words.text()}",{i}' for i in range(n))
    path.write_text("\n".join(["id,title,text,year", *rows]), "utf-8")


def _parquet(path: Path, words: Words, n: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": [f"d{i}" for i in range(n)], "text": [words.text() for _ in range(n)]}
    pq.write_table(pa.table(columns), path)


def _sqlite(path: Path, words: Words, n: int) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE notes (id TEXT, text TEXT)")
        database.executemany(
            "INSERT INTO notes VALUES (?, ?)", ((f"d{i}", words.text()) for i in range(n))
        )
    database.close()


def _markdown(path: Path, words: Words, n: int) -> None:
    for i in range(n):
        parts = "".join(f"## {words.text(4)}\n\n{words.text(90)}\n\n" for _ in range(2))
        (path / f"{i}.md").write_text(f"# {words.text(5)}\n\n{parts}", "utf-8")


def _pubmed(path: Path, words: Words, n: int) -> None:
    articles = "".join(
        f'<PubmedArticle><MedlineCitation><PMID Version="1">{i + 1}</PMID><Article><Journal>'
        f"<JournalIssue><PubDate><Year>2020</Year></PubDate></JournalIssue><Title>{words.name()}"
        f"</Title></Journal><ArticleTitle>{words.text(12)}</ArticleTitle><Abstract>"
        f'<AbstractText Label="METHODS">{words.text(90)}</AbstractText>'
        f'<AbstractText Label="RESULTS">{words.text(90)}</AbstractText></Abstract>'
        "<AuthorList>"
        + "<Author><LastName>A</LastName><ForeName>B</ForeName></Author>" * 6
        + "</AuthorList></Article><MeshHeadingList>"
        + f"<MeshHeading><DescriptorName>{words.name()}</DescriptorName></MeshHeading>" * 10
        + "</MeshHeadingList></MedlineCitation></PubmedArticle>\n"
        for i in range(n)
    )
    data = f'<?xml version="1.0"?><PubmedArticleSet>{articles}</PubmedArticleSet>'
    path.write_bytes(gzip.compress(data.encode(), 6))


def _jats(path: Path, words: Words, n: int) -> None:
    for i in range(n):
        sections = "".join(
            f"<sec><title>{words.text(3)}</title><p>{words.text(90)}"
            f'<xref ref-type="bibr">{s}</xref></p></sec>'
            for s in range(12)
        )
        references = "".join(
            f"<ref><mixed-citation>{words.text(20)}</mixed-citation></ref>" for _ in range(30)
        )
        (path / f"{i}.nxml").write_text(
            f"<article><front><article-meta><title-group><article-title>{words.text(9)}"
            f"</article-title></title-group></article-meta></front><body>{sections}</body>"
            f"<back><ref-list>{references}</ref-list></back></article>",
            "utf-8",
        )


def _nbib(path: Path, words: Words, n: int) -> None:
    records = (f"PMID- {i}\nTI  - {words.text(10)}\nAB  - {words.text()}\n" for i in range(n))
    path.write_text("\n".join(records), "utf-8")


def _trials(path: Path, words: Words, n: int) -> None:
    studies = [
        {
            "protocolSection": {
                "identificationModule": {"nctId": f"NCT{i}", "briefTitle": words.text(9)},
                "descriptionModule": {"briefSummary": words.text()},
                "eligibilityModule": {"eligibilityCriteria": words.text()},
            }
        }
        for i in range(n)
    ]
    path.write_text(json.dumps({"studies": studies}), "utf-8")


def _obo(path: Path, words: Words, n: int) -> None:
    """Terms as of different ontologies: some are a name alone, some have much of everything."""

    def term(i: int) -> str:
        shape = i % 4
        lines = [f"[Term]\nid: T:{i}\nname: {words.text(1 + shape)}"]
        lines += [f'def: "{words.text(15 * shape)}" [PMID:{i}]'] * (shape > 0)
        lines += [f'synonym: "{words.text(2)}" EXACT []' for _ in range(2 * shape)]
        lines += [f"xref: X:{i}{x}" for x in range(3 * shape)]
        lines += [f"is_a: T:{p} ! {words.name()}" for p in range(1 + shape // 2)]
        lines += [f'comment: "{words.text(12)}"'] * (shape == 3)
        return "\n".join(lines) + "\n"

    path.write_text("\n".join(map(term, range(n))), "utf-8")


def _sdf(path: Path, words: Words, n: int) -> None:
    """Compounds of 8 to 60 atoms; some have a name alone, some synonyms, numbers and a text."""

    def record(i: int) -> str:
        size, shape = 8 + i * 7 % 53, i % 4
        atoms = "    1.2124   -0.7000    0.0000 C   0  0\n" * size + "  1  2  1  0\n" * size
        tags = {"ChEBI ID": f"CHEBI:{i}", "ChEBI Name": words.text(1 + shape)}
        if shape > 0:
            tags |= {"Definition": words.text(15 * shape), "Mass": f"{i % 500}.0{shape}"}
        if shape > 1:
            synonyms = "\n".join(words.text(2) for _ in range(4 * shape))
            tags |= {"Synonyms": synonyms, "SMILES": "CC(=O)N" * shape, "Formulae": f"C{size}H9"}
        data = "".join(f"> <{tag}>\n{value}\n\n" for tag, value in tags.items())
        return f"{words.name()}\n  made\n\n{size:3}{size:3}  0\n{atoms}M  END\n{data}$$$$\n"

    path.write_text("".join(map(record, range(n))), "utf-8")


def _cif(path: Path, words: Words, n: int) -> None:
    loop = "Si 0.4697 0.0 0.0\n" * 60
    blocks = (
        f"data_{i}\n_chemical_name_common '{words.name()}'\n_publ_section_title\n;\n"
        f"{words.text(20)}\n;\n_cell_length_a 4.9\nloop_\n_atom_site_label\n{loop}"
        for i in range(n)
    )
    path.write_text("".join(blocks), "utf-8")


def _notebook(path: Path, words: Words, n: int) -> None:
    for i in range(n):
        cells = [
            {"cell_type": kind, "source": [words.text(60)], "outputs": []}
            for kind in ("markdown", "code") * 4
        ]
        (path / f"{i}.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}}), "utf-8")


def _html(path: Path, words: Words, n: int) -> None:
    for i in range(n):
        paragraphs = "".join(f"<p>{words.text(60)}</p>" for _ in range(8))
        menu = "".join(f"<li><a href=/{words.name()}>{words.name()}</a></li>" for _ in range(30))
        (path / f"{i}.html").write_text(
            f"<html><head><title>{words.text(5)}</title></head><body><ul>{menu}</ul><article>"
            f"<h1>{words.text(5)}</h1>{paragraphs}</article></body></html>",
            "utf-8",
        )


def _pdf(path: Path, words: Words, n: int) -> None:
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    names = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    for i in range(n):
        writer = PdfWriter()
        font = DictionaryObject({NameObject(k): NameObject(v) for k, v in names.items()})
        fonts = DictionaryObject({NameObject("/F1"): font})
        for _ in range(5):
            page = writer.add_blank_page(612, 792)
            lines = "".join(f"({words.text(12)}) Tj 0 -14 Td " for _ in range(40))
            content = DecodedStreamObject()
            content.set_data(f"BT /F1 10 Tf 40 760 Td {lines} ET".encode())
            page[NameObject("/Contents")] = content
            page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        writer.write(path / f"{i}.pdf")


def _docx(path: Path, words: Words, n: int) -> None:
    import docx

    for i in range(n):
        made = docx.Document()
        for _ in range(6):
            made.add_heading(words.text(4), level=1)
            made.add_paragraph(words.text(120))
        made.save(str(path / f"{i}.docx"))


def _epub(path: Path, words: Words, n: int) -> None:
    container = '<container><rootfiles><rootfile full-path="b.opf"/></rootfiles></container>'
    for i in range(n):
        chapters = {f"c{c}.xhtml": words for c in range(10)}
        items = "".join(f'<item id="{name}" href="{name}"/>' for name in chapters)
        spine = "".join(f'<itemref idref="{name}"/>' for name in chapters)
        with zipfile.ZipFile(path / f"{i}.epub", "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("META-INF/container.xml", container)
            packed.writestr(
                "b.opf",
                f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>",
            )
            for name in chapters:
                body = "".join(f"<p>{words.text(100)}</p>" for _ in range(10))
                packed.writestr(name, f"<html><body><h1>{words.name()}</h1>{body}</body></html>")


def _code(path: Path, words: Words, n: int) -> None:
    for i in range(n // 10):
        functions = "\n\n".join(
            f"/** {words.text(12)} */\nfunction {words.name()}{f}(a, b) {{\n"
            + "".join(f"  const {words.name()} = a.{words.name()}(b, {k});\n" for k in range(12))
            + "}"
            for f in range(10)
        )
        (path / f"{i}.js").write_text(functions, "utf-8")


def _python(path: Path, words: Words, n: int) -> None:
    for i in range(n // 10):
        functions = "\n\n\n".join(
            f"def {words.name()}_{f}(a, b):\n    '''{words.text(12)}'''\n"
            + "".join(f"    {words.name()} = a.{words.name()}(b, {k})\n" for k in range(12))
            for f in range(10)
        )
        (path / f"{i}.py").write_text(functions, "utf-8")


def _archive(path: Path, words: Words, n: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for i in range(n):
            packed.writestr(f"{i}.md", f"# {words.text(5)}\n\n{words.text()}\n")


FILE_OF = {
    "jsonl": "a.jsonl",
    "csv": "a.csv",
    "parquet": "a.parquet",
    "sqlite": "a.db",
    "pubmed": "a.xml.gz",
    "nbib": "a.nbib",
    "trials": "a.json",
    "obo": "a.obo",
    "sdf": "a.sdf",
    "cif": "a.cif",
    "archive": "a.zip",
}
"""Readers whose sample is one file; that of the others is a folder of files."""
WRITERS: dict[str, Write] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
    "sqlite": _sqlite,
    "text": _markdown,
    "pubmed": _pubmed,
    "nbib": _nbib,
    "jats": _jats,
    "trials": _trials,
    "obo": _obo,
    "sdf": _sdf,
    "cif": _cif,
    "notebook": _notebook,
    "html": _html,
    "pdf": _pdf,
    "docx": _docx,
    "epub": _epub,
    "python": _python,
    "code": _code,
    "archive": _archive,
}
"""Reader -> what writes its sample; slow formats get fewer documents (`reader_speed`)."""
