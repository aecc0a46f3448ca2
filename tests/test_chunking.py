"""Chunks cover the text, point back exactly, keep to the budget, and cut where the text pauses."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lbr_search.config import ChunkConfig
from lbr_search.corpus import chunking
from lbr_search.corpus.chunking import chunk_documents
from lbr_search.types import Chunk, Document


def word_spans(text: str) -> list[tuple[int, int]]:
    """Words and marks, without the blanks: as word-piece tokenizers report them."""
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


def blank_first_spans(text: str) -> list[tuple[int, int]]:
    """Each token owns the blank before it: as byte-level BPE tokenizers report them."""
    return [match.span() for match in re.finditer(r"\s*(?:\w{1,3}|[^\w\s])|\s+$", text)]


def byte_spans(text: str) -> list[tuple[int, int]]:
    """One token a byte, so that one character may be up to four tokens with the same span."""
    return [
        (place, place + 1)
        for place, character in enumerate(text)
        for _ in character.encode("utf-8", "replace")
    ]


TOKENIZERS = {"words": word_spans, "blank first": blank_first_spans, "bytes": byte_spans}

prose = st.text(
    st.one_of(
        st.sampled_from("ab.!? \n\t,é€🧪"), st.characters(exclude_categories=["Cs"], codec="utf-8")
    ),
    max_size=300,
)
configs = st.integers(1, 40).flatmap(
    lambda size: st.builds(ChunkConfig, st.just(size), st.integers(0, size // 2))
)


def chunks_of(text: str, config: ChunkConfig, spans=word_spans, title: str = "") -> list[Chunk]:
    document = Document("d", text, title=title, metadata={"year": 2000})
    return list(chunk_documents([document], token_spans=spans, config=config))


@pytest.mark.parametrize("spans", TOKENIZERS.values(), ids=TOKENIZERS)
@settings(max_examples=150, deadline=None)
@example(text="00\x80", title="", config=ChunkConfig(2, 1))  # an uncuttable character at a border
@given(text=prose, title=st.sampled_from(["", "One", "A long title of many words"]), config=configs)
def test_chunks_cover_the_text_within_budget(text, title, config, spans):
    """Every character is in a chunk, offsets are exact, and token budget and overlap hold."""
    chunks = chunks_of(text, config, spans, title)
    starts = [start for start, _ in spans(text)]
    room = max(config.chunk_tokens - len(spans(title)), config.chunk_tokens // 2, 1)

    assert chunks[0].start == 0 and chunks[-1].end == len(text)
    assert [c.chunk_no for c in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert text[chunk.start : chunk.end] == chunk.text
        held = [start for start in starts if chunk.start <= start < chunk.end]
        assert len(held) <= room or len(set(held)) == 1, "only one uncuttable character may exceed"
    for before, after in itertools.pairwise(chunks):
        assert before.start < after.start <= before.end < after.end, "no gap, and it advances"
        repeated = sum(after.start <= start < before.end for start in starts)
        assert repeated <= min(config.overlap, room // 2)


@given(n_words=st.integers(1, 400), config=configs)
def test_overlap_is_exact_between_words(n_words, config):
    """Where every token is a word the next chunk repeats exactly the overlap that was asked for."""
    text = " ".join(f"w{n}" for n in range(n_words))
    chunks = chunks_of(text, config)
    for before, after in itertools.pairwise(chunks):
        repeated = text[after.start : before.end].split()
        assert len(repeated) == min(config.overlap, config.chunk_tokens // 2)
        assert len(before.text.split()) == config.chunk_tokens


def test_zero_tokens_keeps_documents_whole():
    """With chunk_tokens 0 a document is one chunk and the tokenizer is not called."""

    def never(text: str) -> list[tuple[int, int]]:
        raise AssertionError("tokenised")

    document = Document("d", "word " * 5000, title="T", domain="code", metadata={"a": 1})
    (chunk,) = chunk_documents([document], token_spans=never, config=ChunkConfig(0, 0))
    assert chunk == Chunk(
        "d", 0, document.text, 0, 25000, "T", "code", {"a": 1}, document.content_hash
    )


def test_what_surely_fits_is_not_tokenised():
    """256 characters of ASCII are no more tokens; other scripts may be."""

    def never(text: str) -> list[tuple[int, int]]:
        raise AssertionError(text)

    config = ChunkConfig(chunk_tokens=64, overlap=8)
    short = Document("d", "a short text", title="A title")
    (chunk,) = chunk_documents([short], token_spans=never, config=config)
    assert (chunk.text, chunk.title, chunk.start, chunk.end) == ("a short text", "A title", 0, 12)
    for text in ("word " * 13, "\N{GREEK SMALL LETTER ALPHA}"):
        with pytest.raises(AssertionError):
            list(chunk_documents([Document("d", text)], token_spans=never, config=config))


def test_title_takes_its_share_but_never_more_than_half():
    """A title of 3 tokens and the seam leave 6 of 10 to the text; one of 50 leaves 5."""
    text = " ".join(f"w{n}" for n in range(40))
    short = chunks_of(text, ChunkConfig(10, 0), title="one two three")
    long = chunks_of(text, ChunkConfig(10, 0), title="t " * 50)
    assert [len(c.text.split()) for c in short] == [6, 6, 6, 6, 6, 6, 4]
    assert [len(c.text.split()) for c in long] == [5] * 8


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("a b c d e f\n\ng h. i j k l m n", "a b c d e f\n\n"),
        ("a b c d e f. g h i j k l m n", "a b c d e f. "),
        ("a b c d e f\ng h i j k l m n", "a b c d e f\n"),
        ("a b c d e (f.) g h i j k l m n", "a b c d e (f.) "),
        ("a b c d e f g h i j k l m n", "a b c d e f g h i j "),
        ("a b\n\nc d e f g h i j k l m n", "a b\n\nc d e f g h i j "),
    ],
    ids=["paragraph", "sentence", "line", "closing mark", "word", "too early to cut"],
)
def test_cuts_at_the_best_pause_of_the_second_half(text, first):
    """A paragraph wins over a sentence, that over a word; the first half is never cut."""
    assert chunks_of(text, ChunkConfig(10, 0))[0].text == first


def test_five_megabytes_in_one_document():
    """A document of 5 MB is cut like any other, block by block, in words as a whole."""
    text = ("The enzyme lowers the barrier of one step. " * 10 + "\n\n") * 12_000
    assert len(text) > 5_000_000
    longest = 0

    def counted(block: str) -> list[tuple[int, int]]:
        nonlocal longest
        longest = max(longest, len(block))
        return word_spans(block)

    chunks = chunks_of(text, ChunkConfig(256, 0), counted)
    assert "".join(chunk.text for chunk in chunks) == text
    assert longest <= chunking._BLOCK_CHARS
    assert all(chunk.text.startswith("The") for chunk in chunks), "cut between sentences"


def test_block_borders_do_not_show(monkeypatch):
    """Tokenising in blocks gives the chunks that tokenising at once gives."""
    text = " ".join(f"word{n}." for n in range(2000))
    whole = chunks_of(text, ChunkConfig(30, 5))
    monkeypatch.setattr(chunking, "_BLOCK_CHARS", 700)
    assert chunks_of(text, ChunkConfig(30, 5)) == whole


@pytest.mark.parametrize("text", ["", " \n ", "x"])
def test_texts_without_room_to_cut_are_one_chunk(text):
    """Empty, blank and one-token texts give one chunk that is the whole text."""
    (chunk,) = chunks_of(text, ChunkConfig(8, 2), title="Title")
    assert (chunk.text, chunk.start, chunk.end) == (text, 0, len(text))
