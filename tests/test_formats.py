"""Each format gives title, text, sections and metadata as the file has them."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path

import pytest

from lbr_search.corpus.detect import detect_reader
from lbr_search.corpus.rejects import Rejects
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions
from lbr_search.registry import READERS
from lbr_search.types import Document
from tests import written

OPTIONS = ReadOptions()


def read(name: str, path: Path) -> tuple[list[Document], Rejects]:
    rejects = Rejects(None)
    return list(READERS.resolve(name)(path, options=OPTIONS, rejects=rejects)), rejects


def headings(document: Document) -> list[tuple[str, tuple[str, ...]]]:
    """The first line of each section, and its path."""
    return [(document.text[part.start :].split("\n")[0], part.path) for part in document.sections]


# --- medicine ---------------------------------------------------------------------------------


def test_pubmed_articles_have_abstract_and_metadata(tmp_path):
    """Labels, year, journal, MeSH and DOI are kept; the id is the PMID."""
    file = tmp_path / "pubmed25n0001.xml.gz"
    file.write_bytes(gzip.compress(written.pubmed_xml([(7, "On &x", "We <looked>.")])))
    (document,), rejects = read("pubmed", file)
    assert (document.doc_id, document.title, document.text) == (
        "7",
        "On &x",
        "METHODS: We <looked>.",
    )
    assert document.metadata == {
        "pmid": 7,
        "year": 2019,
        "journal": "Journal of Tests",
        "language": "eng",
        "mesh": "Humans; Aspirin",
        "doi": "10.1/7",
    }
    assert rejects.n_rejected == 0


def test_pubmed_ids_are_those_of_the_article_and_not_of_its_references(tmp_path):
    """References have a DOI and a PMC id too; a season is no year."""
    (tmp_path / "a.xml").write_text(
        "<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>7</PMID><Article><Journal>"
        "<JournalIssue><PubDate><MedlineDate>Spring 1998</MedlineDate></PubDate></JournalIssue>"
        "</Journal><ArticleTitle>Water</ArticleTitle>"
        '<ELocationID EIdType="doi">10.1/own</ELocationID><Language>eng</Language>'
        "<Language>fre</Language></Article><KeywordList><Keyword>thirst</Keyword></KeywordList>"
        "</MedlineCitation><PubmedData><ReferenceList><Reference><ArticleIdList>"
        '<ArticleId IdType="doi">10.9/other</ArticleId><ArticleId IdType="pmc">PMC9</ArticleId>'
        "</ArticleIdList></Reference></ReferenceList></PubmedData></PubmedArticle>"
        "</PubmedArticleSet>"
    )
    (document,), _ = read("pubmed", tmp_path / "a.xml")
    assert document.metadata == {
        **{"pmid": 7, "year": 1998, "doi": "10.1/own", "language": "eng; fre"},
        "keywords": "thirst",
    }


def test_pubmed_updates_replace_and_delete(tmp_path):
    """A later file has the newer version of an article, and removes what it says is deleted."""
    files = {
        "pubmed25n0001.xml": ([(1, "One", "old"), (2, "Two", "old"), (3, "Three", "old")], ()),
        "pubmed25n0002.xml": ([(2, "Two", "new"), (4, "Four", "new"), (5, "Five", "x")], (3, 5)),
    }
    for name, (articles, deleted) in files.items():
        (tmp_path / name).write_bytes(written.pubmed_xml(articles, deleted))
    documents, _ = read("pubmed", tmp_path)
    assert {d.doc_id: d.text for d in documents} == {
        "1": "METHODS: old",
        "2": "METHODS: new",
        "4": "METHODS: new",
    }
    assert detect_reader(tmp_path) == "pubmed"


def test_nbib_joins_lines_that_go_on(tmp_path):
    """A field that wraps is one text, and repeated fields are lists."""
    (tmp_path / "a.nbib").write_text(written.NBIB)
    first, second = read("nbib", tmp_path / "a.nbib")[0]
    assert first.title == "A long title that goes on in a second line"
    assert first.metadata == {
        "pmid": 11,
        "year": 2018,
        "journal": "Journal of Tests",
        "mesh": "Humans; *Aspirin",
        "doi": "10.1/11",
    }
    assert (second.doc_id, second.text) == ("12", "More text.")


def test_jats_has_sections_tables_and_formulas_and_no_references(tmp_path):
    """Headings nest, a table is rows of text, citations and their brackets are gone."""
    (tmp_path / "a.nxml").write_text(written.JATS.replace("{title}", "<sub>2</sub>X"))
    (document,), rejects = read("jats", tmp_path / "a.nxml")
    assert rejects.n_rejected == 0
    assert (document.doc_id, document.title) == ("a.nxml", "Effects of 2X")
    assert document.text == (
        "Abstract\n\nWe measured \N{GREEK SMALL LETTER ALPHA} and found little.\n\n"
        "Methods\n\nTen mice were weighed daily.\n\nDoses\n\nThey got 5 mg.\n\n"
        "Table 1 Weights\n\n| day | g |\n| 1 | 20.5 |\n\n$$ y = a x $$\n\n"
        "Results\n\nNone (Figure 1)."
    )
    assert headings(document) == [
        ("Abstract", ("Abstract",)),
        ("Methods", ("Methods",)),
        ("Doses", ("Methods", "Doses")),
        ("Results", ("Results",)),
    ]
    assert document.metadata == {
        "journal": "J. Tests",
        "article_type": "research-article",
        "pmc": "PMC77",
        "doi": "10.1/77",
        "year": 2021,
    }


def test_jats_paragraphs_end_at_lists_and_tables_inside(tmp_path):
    """Publishers write without white space between elements; words of two must not be joined."""
    body = (
        "<p>Who:<list><list-item><p>Adults</p></list-item>"
        "<list-item><p>Twins</p></list-item></list>"
        "and <table-wrap><label>Table 2</label>"
        "<caption><title>Doses.</title><p>In mg.</p></caption>"
        "<table><tr><th>Arm<break/>(n)</th><th>mg</th></tr><tr><td>A</td><td>5</td></tr></table>"
        "<table-wrap-foot><fn><p>mg, milligram</p></fn></table-wrap-foot></table-wrap> more.</p>"
        "<def-list><def-item><term>BMI</term>"
        "<def><p>body mass index</p></def></def-item></def-list>"
        "<p>As <inline-formula><tex-math>\\usepackage{amsmath}\\begin{document}$$a^2$$"
        "\\end{document}</tex-math></inline-formula>.</p>"
    )
    back = "<app-group><app><title>Scales</title><p>One to ten.</p></app></app-group>"
    (tmp_path / "a.nxml").write_text(
        f'<article xml:lang="en"><body>{body}</body><back><ack><p>Thanks</p></ack>{back}</back>'
        '<sub-article article-type="reply"><body><p>No.</p></body></sub-article></article>'
    )
    (document,), rejects = read("jats", tmp_path / "a.nxml")
    assert document.text.split("\n\n") == [
        *("Who:", "Adults", "Twins", "and", "Table 2 Doses. In mg.", "| Arm (n) | mg |\n| A | 5 |"),
        *("mg, milligram", "more.", "BMI: body mass index", "As $ a^2 $.", "Scales", "One to ten."),
    ]
    assert [part.path for part in document.sections] == [("Scales",)]
    assert document.metadata["language"] == "en"
    assert rejects.skipped == {"sub-article": 1}


def test_several_articles_in_a_file_are_called_after_themselves(tmp_path):
    """A set of articles gives each the PMC id below the file's name."""
    article = written.JATS[written.JATS.index("<article ") :].replace("&alpha;", "it")
    many = f"<pmc-articleset>{article}{article.replace('PMC77', 'PMC78')}</pmc-articleset>"
    (tmp_path / "set.xml").write_text(many)
    documents, _ = read("jats", tmp_path / "set.xml")
    assert [d.doc_id for d in documents] == ["set.xml::PMC77", "set.xml::PMC78"]


def test_trials_are_studies_with_sections(tmp_path):
    """Every module that people search is a section; the id is the NCT number."""
    (tmp_path / "one.json").write_text(json.dumps(written.study("NCT5")))
    (tmp_path / "many.jsonl").write_text(json.dumps(written.study("NCT6")) + "\n")
    (document,), _ = read("trials", tmp_path / "one.json")
    assert (document.doc_id, document.title) == ("NCT5", "A trial NCT5")
    assert [name for name, _ in headings(document)] == [
        *("Brief summary", "Detailed description", "Conditions", "Interventions"),
        *("Primary outcomes", "Eligibility"),
    ]
    assert "Salbutamol: inhaled" in document.text
    assert document.metadata["phases"] == "PHASE2"
    assert document.metadata["year"] == 2020
    assert [d.doc_id for d in read("trials", tmp_path / "many.jsonl")[0]] == ["NCT6"]


def test_obo_terms_have_synonyms_and_parents(tmp_path):
    """Escapes are undone, obsolete terms are skipped and counted, other stanzas passed over."""
    (tmp_path / "a.obo").write_text(written.OBO)
    (first, second), rejects = read("obo", tmp_path / "a.obo")
    assert first.title == "heart valve"
    assert first.text == (
        'A flap "of tissue" in the heart.\nSynonyms: cardiac valve\nIs a: organ part'
    )
    assert first.metadata == {"xref": "UBERON:1"}
    assert second.doc_id == "T:2"
    assert rejects.skipped == {"obsolete term": 1}


# --- chemistry --------------------------------------------------------------------------------


def test_sdf_tags_are_text_and_atoms_are_not(tmp_path):
    """The id and name are those of the database; every tag is a line."""
    (tmp_path / "a.sdf").write_text(written.SDF)
    first, second = read("sdf", tmp_path / "a.sdf")[0]
    assert (first.doc_id, first.title) == ("CHEBI:15365", "acetylsalicylic acid")
    assert "Synonyms: aspirin; 2-acetoxybenzoic acid" in first.text
    assert "0.0000" not in first.text
    assert first.metadata == {"formula": "C9H8O4"}
    assert (second.doc_id, second.title) == ("ethanol", "ethanol")
    (tmp_path / "b.mol").write_text(written.SDF.split("> <")[0])
    (alone,), _ = read("sdf", tmp_path / "b.mol")
    assert (alone.doc_id, alone.title) == ("b.mol", "aspirin")


def test_sdf_records_of_one_name_are_all_kept(tmp_path):
    """Conformers share their name; an id that a tag gives twice is a mistake of the file."""
    mol = "{name}\n  x\n\n  0  0\nM  END\n{tags}$$$$\n"
    tagged = mol.format(name="b", tags="> <CHEBI ID>\nCHEBI:1\n\n")
    records = [mol.format(name="hexane", tags="> <energy>\n1.5\n\n")] * 3
    (tmp_path / "a.sdf").write_text("".join([*records, tagged, tagged]))
    documents, rejects = read("sdf", tmp_path / "a.sdf")
    assert [d.doc_id for d in documents] == ["hexane", "hexane:2", "hexane:3", "CHEBI:1"]
    assert rejects.by_reason == {"repeated id": 1}


def test_cif_loops_of_one_column_are_lists(tmp_path):
    """Authors are wanted; a row of many columns would stand under the name of the last one."""
    (tmp_path / "a.cif").write_text(
        "data_one\n_cell_length_a\t5.43(1)\nloop_\n_publ_author_name\n'Doe, J.'\n'Roe, R.'\n"
        "loop_\n_publ_author_address\n_publ_author_email\n'Here' a@b\n_journal_year 1999\n"
        "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'-x,y,z'\n# end\n"
    )
    (document,), _ = read("cif", tmp_path / "a.cif")
    assert document.text.splitlines() == [
        *("cell length a: 5.43(1)", "publ author name: Doe, J.; Roe, R.", "journal year: 1999"),
    ]


def test_very_many_atoms_are_no_load(tmp_path):
    """A structure far larger than any molecule is passed over line by line."""
    import tracemalloc

    atom = "    0.0000    0.0000    0.0000 C   0  0\n"
    file = tmp_path / "huge.sdf"
    with file.open("w") as stream:
        stream.write("huge\n\n\n")
        for _ in range(20):
            stream.write(atom * 10_000)
        stream.write("M  END\n> <ChEBI ID>\nCHEBI:9\n\n$$$$\n")
    tracemalloc.start()
    (document,), _ = read("sdf", file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert document.doc_id == "CHEBI:9"
    assert peak < 5_000_000


def test_tables_of_structures_need_no_column_of_text(tmp_path):
    """A table with SMILES is known by its header: name and id are found, columns become lines."""
    (tmp_path / "c.csv").write_text(
        "cid,cmpdname,isosmiles,mw\n2244,aspirin,CC(=O)OC1,180.2\n,nothing,C,16\n"
    )
    assert detect_reader(tmp_path / "c.csv") == "compounds"
    (document,), rejects = read("compounds", tmp_path / "c.csv")
    assert (document.doc_id, document.title) == ("2244", "aspirin")
    assert document.text == "cid: 2244\ncmpdname: aspirin\nisosmiles: CC(=O)OC1\nmw: 180.2"
    assert document.metadata["isosmiles"] == "CC(=O)OC1"
    assert rejects.by_reason == {"missing id": 1}
    (tmp_path / "c.smi").write_text("smiles name\nCCO ethyl alcohol\nCO\tmethanol\n")
    assert [(d.title, d.text) for d in read("compounds", tmp_path / "c.smi")[0]] == [
        ("ethyl alcohol", "SMILES: CCO"),
        ("methanol", "SMILES: CO"),
    ]


def test_cif_headers_are_text_and_coordinates_are_not(tmp_path):
    """Names, formula, cell, symmetry and the title of several lines; two blocks, two documents."""
    (tmp_path / "a.cif").write_text(written.CIF)
    quartz, halite = read("cif", tmp_path / "a.cif")[0]
    assert (quartz.doc_id, quartz.title) == ("a.cif::quartz", "Quartz")
    assert "publ section title: Structure of quartz at room temperature" in quartz.text
    assert "0.4697" not in quartz.text
    assert quartz.metadata == {"formula": "O2 Si", "space_group": "P 32 2 1"}
    assert halite.title == "Halite"


# --- general ----------------------------------------------------------------------------------


def test_markdown_has_sections_outside_of_fences(tmp_path):
    """Headings nest and a comment of a shell script is none; the text stays as it is."""
    text = "# Guide\n\nIntro.\n\n```sh\n# no heading\n```\n\n## Use\n\nRun it.\n"
    (tmp_path / "a.md").write_text(text)
    (document,), _ = read("text", tmp_path / "a.md")
    assert (document.title, document.text) == ("Guide", text)
    assert headings(document) == [("# Guide", ("Guide",)), ("## Use", ("Guide", "Use"))]


def test_underlined_headings_are_sections(tmp_path):
    """Of reStructuredText by their order; in Markdown a line below a list or a table is a rule."""
    (tmp_path / "a.rst").write_text(
        "====\nTop\n====\n\nIntro\n\nUse\n---\n\nx\n"
        "\nDetail\n~~~~~~\ny\n\nEnd\n---\n\na longer line\n---\n"
    )
    (tmp_path / "b.md").write_text(
        "---\ntitle: x\n---\n\nTop\n===\n\n- item\n---\n"
        "\ntwo\nlines\n---\n\n```\nNo\n===\n```\n\nPart\n----\n"
    )
    (rst, markdown), _ = read("text", tmp_path)
    assert (rst.title, markdown.title) == ("Top", "Top")
    paths = [part.path for part in rst.sections]
    assert paths == [("Top",), ("Top", "Use"), ("Top", "Use", "Detail"), ("Top", "End")]
    assert [part.path for part in markdown.sections] == [("Top",), ("Top", "Part")]
    starts = [markdown.text[part.start :].split("\n")[0] for part in markdown.sections]
    assert starts == ["Top", "Part"]


def test_text_in_utf_16_is_read_by_its_mark(tmp_path):
    """Windows writes it; without a mark nothing is guessed."""
    (tmp_path / "a.txt").write_bytes("Grüße\r\nzwei".encode("utf-16"))
    (document,), _ = read("text", tmp_path / "a.txt")
    assert document.text == "Grüße\nzwei"


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        (
            "Die L\u00f6slichkeit von S\u00e4uren wird bei 25 \u00b0C gemessen. ",
            "latin-1",
            "cp1252",
        ),
        ("It\u2019s a \u201csmall\u201d thing \u2013 really. ", "cp1252", "cp1252"),
        (
            "\u6c34\u306e\u6eb6\u89e3\u5ea6\u306f\u6e29\u5ea6\u3067\u5909\u308f\u308b\u3002",
            "shift-jis",
            "cp932",
        ),
        (
            "\u0420\u0430\u0441\u0442\u0432\u043e\u0440 "
            "\u043a\u0438\u0441\u043b\u043e\u0442\u044b "
            "\u0438 \u0441\u043e\u043b\u0438. ",
            "cp1251",
            "cp1251",
        ),
        ("Plain words of English. ", "utf-16-le", "utf_16_le"),
    ],
)
def test_text_in_another_encoding_is_read_and_the_guess_counted(tmp_path, text, encoding, name):
    (tmp_path / "a.txt").write_bytes((text * 4).encode(encoding))
    (document,), rejects = read("text", tmp_path)
    assert document.text == text * 4
    assert document.metadata["encoding"] == name
    assert (rejects.n_rejected, rejects.skipped, rejects.noted) == (0, {}, {"encoding guessed": 1})


def test_pdf_pages_are_marked_and_scans_counted(tmp_path):
    """Pages join with their numbers; one without text is counted, a file of them is rejected."""
    written.write_pdf(tmp_path / "a.pdf", ["First page.", "", "Third."], title="A report")
    (document,), rejects = read("pdf", tmp_path / "a.pdf")
    assert (document.title, document.text) == ("A report", "First page.\n\nThird.")
    assert [(part.start, part.path) for part in document.sections] == [
        (0, ("page 1",)),
        (13, ("page 3",)),
    ]
    assert rejects.skipped == {"pages without text": 1}
    written.write_pdf(tmp_path / "scan.pdf", ["", ""])
    assert read("pdf", tmp_path / "scan.pdf")[1].by_reason == {"no text layer": 1}
    written.write_pdf(tmp_path / "locked.pdf", ["Secret."], password="x")
    assert read("pdf", tmp_path / "locked.pdf")[1].by_reason == {"encrypted": 1}


def test_a_damaged_page_of_a_pdf_costs_that_page(tmp_path):
    import pypdf
    from pypdf.generic import NameObject

    whole = written.write_pdf(tmp_path / "a.pdf", ["first page", "second page"])
    writer = pypdf.PdfWriter(clone_from=str(whole))
    writer.pages[0]["/Contents"].get_object()[NameObject("/Filter")] = NameObject("/NoSuch")
    writer.write(whole)
    (document,), rejects = read("pdf", whole)
    assert document.text == "second page"
    assert rejects.by_reason == {"page left out": 1}


def test_html_is_its_main_text(tmp_path):
    """Menus, scripts and footers are left out, headings are sections."""
    (document,), _ = read("html", written.write_html(tmp_path / "a.html"))
    assert document.title == "Garden notes"
    assert [path for _, path in headings(document)][-1] == ("Garden notes", "Watering")
    assert "tomatoes" in document.text
    assert not any(word in document.text for word in ("Shop", "Cookies", "var x"))
    assert document.metadata["language"] == "en"


def test_docx_has_headings_and_tables_in_order(tmp_path):
    """Sections by heading styles; a table is rows."""
    (document,), _ = read("docx", written.write_docx(tmp_path / "a.docx"))
    assert document.title == "Protocol"
    assert document.text == (
        "Dosing\n\nGive the tablet with water.\n\nChildren\n\nHalve the dose.\n\n"
        "| age | mg |\n| 6 to 12 | 250 |"
    )
    assert headings(document)[1] == ("Children", ("Dosing", "Children"))


def test_epub_has_chapters_in_reading_order(tmp_path):
    """File names with blanks are found, scripts are left out."""
    (document,), rejects = read("epub", written.write_epub(tmp_path / "a.epub"))
    assert rejects.n_rejected == 0
    assert document.title == "A Small Book"
    assert document.text == (
        "Chapter 1\n\nThe storm came at night.\n\nChapter 2\n\nThe sea was calm."
    )
    assert document.metadata == {"author": "A. Writer", "language": "en"}


def test_epub_pages_keep_text_outside_of_paragraphs(tmp_path):
    """Old books put lines into divisions, with line breaks between them."""
    page = (
        '<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>One<br/>Two</h1>'
        "<div>loose <i>words</i> here<p>inner</p>after<br/>all</div>"
        "<ul><li><p>a</p><p>b</p></li></ul><pre>x\n  y</pre></body></html>"
    )
    (document,), _ = read("epub", written.write_epub(tmp_path / "b.epub", chapter=page))
    expected = "One Two\n\nloose words here\n\ninner\n\nafter all\n\na\n\nb\n\nx\n  y"
    assert document.text == f"{expected}\n\n{expected}"


def test_notebooks_are_text_code_and_output(tmp_path):
    """Cells in order, code in fences, what was printed behind it."""
    (document,), _ = read("notebook", written.write_notebook(tmp_path / "a.ipynb"))
    assert document.title == "Sums"
    assert document.text == (
        "# Sums\n\nAdds numbers.\n\n```python\nprint(2 + 2)\n```\n\n```\n4\n\n```\n\n## End"
    )


@pytest.mark.parametrize("is_stream", [False, True])
def test_arrow_files_and_streams(tmp_path, is_stream):
    """Both forms are told apart by their first bytes."""
    file = written.write_arrow(tmp_path / "a.arrow", is_stream=is_stream)
    documents, rejects = read("arrow", file)
    assert [(d.doc_id, d.title, d.text) for d in documents] == written.ROWS
    assert rejects.n_rejected == 1


def test_a_saved_dataset_is_read_without_its_caches(tmp_path):
    """What `datasets` writes beside the rows is no document, and no damage."""
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        written.write_arrow(tmp_path / split / "data-00000-of-00001.arrow", is_stream=True)
        written.write_arrow(tmp_path / split / "cache-1f.arrow", is_stream=True)
        (tmp_path / split / "state.json").write_text('{"_data_files": []}')
        (tmp_path / split / "dataset_info.json").write_text("{}")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert detect_reader(tmp_path) == detect_reader(tmp_path / "train") == "arrow"
    documents, rejects = read("arrow", tmp_path)
    assert len(documents) == 4
    assert documents[0].metadata["path"] == "test/data-00000-of-00001.arrow"
    assert rejects.by_reason == {"missing id": 2}
    assert rejects.skipped == {"cache of a dataset": 2}


def test_sqlite_bytes_that_are_no_text_cost_their_row(tmp_path):
    with sqlite3.connect(written.write_sqlite(tmp_path / "a.db")) as database:
        database.execute("INSERT INTO notes VALUES (8, 'Odd', CAST(x'66ff' AS TEXT), NULL)")
    database.close()
    documents, rejects = read("sqlite", tmp_path / "a.db")
    assert len(documents) == 2
    assert rejects.by_reason == {"missing text": 1, "not valid Unicode": 1}


def test_sqlite_tables_with_text_are_read(tmp_path):
    """Tables without text are counted, blobs left out, and the file is not touched."""
    file = written.write_sqlite(tmp_path / "it's a #base.db")
    before = file.read_bytes()
    documents, rejects = read("sqlite", file)
    assert [d.doc_id for d in documents] == ["notes:1", "notes:2"]
    assert rejects.skipped == {"table without a column of text": 1}
    assert file.read_bytes() == before
    (tmp_path / "other.db").write_bytes(b"not a database")
    with pytest.raises(CorpusError, match="known kind"):
        detect_reader(tmp_path / "other.db")


def test_json_arrays_are_tables(tmp_path):
    """An array of objects, alone or as the one list of an object."""
    rows = [{"id": 1, "text": "x"}, {"id": 2, "text": "y"}]
    for name, value in {"a.json": rows, "b.json": {"version": 1, "items": rows}}.items():
        (tmp_path / name).write_text(json.dumps(value))
        assert [d.doc_id for d in read("json", tmp_path / name)[0]] == ["1", "2"]
    (tmp_path / "c.json").write_text("[1, 2]")
    assert read("json", tmp_path / "c.json")[1].by_reason == {"not a table": 1}


def test_parquet_text_that_is_not_unicode_is_damage(tmp_path):
    """Found by fuzzing: a turned bit in a string ended the ingest with an exception of Python."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["1"], "text": ["plain words"]}), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes().replace(b"plain words", b"plain \xf4ords")
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(CorpusError, match="cannot be read as Parquet"):
        read("parquet", tmp_path / "a.parquet")
