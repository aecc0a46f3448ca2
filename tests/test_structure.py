"""Chunks follow the structure of a document, and their offsets lead back to it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from lbr_search.config import ChunkConfig
from lbr_search.corpus.chunking import chunk_documents
from lbr_search.types import Document, Section


def spans(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


def chunks(document: Document, tokens: int, overlap: int = 0):
    config = ChunkConfig(chunk_tokens=tokens, overlap=overlap)
    return list(chunk_documents([document], token_spans=spans, config=config))


def test_each_section_is_cut_by_itself_and_its_headings_join_the_title():
    """No chunk holds the end of one section and the start of the next, where both are long."""
    one, two = "alpha " * 30, "beta " * 30
    text = f"{one}\n\n{two}"
    at = text.index("beta")
    document = Document(
        "d", text, "Paper", sections=(Section(0, ("Methods", "Doses")), Section(at, ("Results",)))
    )
    made = chunks(document, 24)
    assert {chunk.title for chunk in made if "alpha" in chunk.text} == {"Paper > Methods > Doses"}
    assert {chunk.title for chunk in made if "beta" in chunk.text} == {"Paper > Results"}
    assert not [chunk for chunk in made if "alpha" in chunk.text and "beta" in chunk.text]
    assert "".join(chunk.text for chunk in made) == text


def test_short_sections_join_under_the_headings_they_share():
    """A heading with one line under it is no chunk of its own."""
    text = "Intro line.\n\nA few words.\n\nOther words."
    sections = (
        Section(0, ("Manual", "A")),
        Section(text.index("A few"), ("Manual", "B")),
        Section(text.index("Other"), ("Manual", "B", "C")),
    )
    (chunk,) = chunks(Document("d", text, "Title", sections=sections), 64)
    assert chunk.title == "Title > Manual"
    assert chunk.text == text


def test_a_heading_that_the_chunk_begins_with_is_not_said_twice():
    """The encoder reads the section's own heading in the text, those above it in the title."""
    text = "## Doses\n" + "word " * 40
    made = chunks(Document("d", text, "T", sections=(Section(0, ("Methods", "Doses")),)), 24)
    assert made[0].title == "T > Methods"
    assert {chunk.title for chunk in made[1:]} == {"T > Methods > Doses"}


def test_a_section_without_break_changes_the_title_of_what_follows_only():
    """The docstring of a function goes with the chunks that no longer hold it."""
    text = "line of code\n" * 40
    part = Section(60, ("Sorts a list.",), is_break=False)
    made = chunks(Document("d", text, "f(x)", sections=(part,)), 30)
    assert made[0].title == "f(x)"
    assert {chunk.title for chunk in made[1:]} == {"f(x) > Sorts a list."}


def test_rows_of_a_table_and_formulas_are_not_cut():
    """A row that fits a chunk is whole in it, also where it holds sentences."""
    rows = "\n".join(f"| item {n}. Good. | {n} mg. Twice. |" for n in range(30))
    for chunk in chunks(Document("d", rows), 40):
        for line in chunk.text.strip().split("\n"):
            assert line.startswith("|") and line.endswith("|")
    formula = "$$ a = b + c . d . e $$"
    text = "Some words here. " * 6 + formula + " More words. " * 6
    assert any(formula in chunk.text for chunk in chunks(Document("d", text), 40))


def test_lines_of_code_are_not_cut():
    """Of source code (a document with line numbers) every line is whole."""
    text = "\n".join(f"    call{n}(a. b, 'x. y'); other{n}()" for n in range(40))
    for chunk in chunks(Document("d", text, metadata={"start_line": 1}), 48):
        lines = chunk.text.strip().split("\n")
        assert all(line.strip().startswith("call") and line.endswith("()") for line in lines)


@given(
    st.lists(st.text(alphabet="ab .\n|$#\t", max_size=60), min_size=1, max_size=8),
    st.integers(2, 40),
    st.integers(0, 1),
)
def test_chunks_cover_any_structure(pieces, tokens, with_overlap):
    """Every character is in a chunk, offsets point back, and chunks advance."""
    starts, at = [], 0
    for piece in pieces:
        starts.append(at)
        at += len(piece)
    sections = tuple(
        Section(start, (f"h{n}",), is_break=n % 3 != 2) for n, start in enumerate(starts)
    )
    document = Document("d", "".join(pieces), "T", sections=sections)
    made = chunks(document, tokens, with_overlap * (tokens // 2))
    covered = 0
    for chunk in made:
        assert document.text[chunk.start : chunk.end] == chunk.text
        assert chunk.start <= covered < chunk.end or covered == len(document.text)
        covered = chunk.end
    assert covered == len(document.text)


def test_sections_are_part_of_the_content_hash():
    """A document whose headings alone change is encoded again; one without any is as before."""
    plain = Document("d", "text")
    assert plain.content_hash != Document("d", "text", sections=(Section(0, ("A",)),)).content_hash
    assert plain.content_hash == Document("other", "text").content_hash
