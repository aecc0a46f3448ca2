"""Document -> chunks: by section, then spans of so many tokens at most, cut where text pauses."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lbr_search.config import ChunkConfig
from lbr_search.corpus.structure import Guards, Part, guards_of, headed, parts_of, path_at
from lbr_search.types import Chunk, Document

TokenSpans = Callable[[str], list[tuple[int, int]]]
"""Text -> half-open character offsets of its tokens (`Encoder.token_spans`)."""

_BLOCK_CHARS = 100_000
"""Longer texts are tokenised in pieces: a tokenizer holds about 200 bytes a token meanwhile."""

_SEAM_TOKENS = 1
"""What joining title and text can add: a word after a blank may be cut into one token more."""

_SHORT_MARGIN = 8
"""Tokens that tokenizers may add of their own: a blank before title and text, the seam."""

_PARAGRAPH, _LINE_OR_SENTENCE, _WORD, _TOKEN = 3, 2, 1, 0
_SENTENCE_ENDS = ".!?"
_CLOSERS = "\"')]}\N{RIGHT DOUBLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"


def chunk_documents(
    documents: Iterable[Document], *, token_spans: TokenSpans, config: ChunkConfig
) -> Iterator[Chunk]:
    """Cut documents into chunks that cover their text.

    Title and text of a chunk have at most `config.chunk_tokens` tokens together; where the title
    is long, the text still gets half of them. With ``chunk_tokens = 0`` a document is one chunk.
    Each section of a document is cut by itself (short neighbours together), and its headings
    join the title of its chunks, for the encoder and the lexical leg; the text stays as it is.
    A chunk ends at the last paragraph in its second half, else at the last line or sentence,
    else between words, else between tokens, and never inside a table row, a formula or a line of
    source code where there is another place; the next one repeats up to `config.overlap` tokens
    of it (at most half the room of the text), from a word's start where there is one.
    The offsets point back exactly: ``document.text[chunk.start:chunk.end] == chunk.text``.

    Args:
        documents: in any number; read one at a time.
        token_spans: the tokenizer of the encoder that will read the chunks.
        config: sizes in tokens.

    Yields:
        Chunks in the order of the documents, numbered from 0 within each.
    """
    for document in documents:
        doc_hash = document.content_hash
        for number, (start, end, title) in enumerate(_spans(document, token_spans, config)):
            yield Chunk(
                doc_id=document.doc_id,
                chunk_no=number,
                text=document.text[start:end],
                start=start,
                end=end,
                title=title,
                domain=document.domain,
                metadata=document.metadata,
                doc_hash=doc_hash,
            )


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Character offsets of the tokens of a text, half-open; 8 bytes each."""

    text: str
    starts: array[int]
    ends: array[int]
    guards: Guards | None = None

    def between(self, start: int, end: int) -> int:
        """How many tokens start from character `start` on and before `end`."""
        return bisect_left(self.starts, end) - bisect_left(self.starts, start)

    def can_cut(self, at: int) -> bool:
        """Whether token `at` begins after the one before: one character may be many tokens."""
        return self.starts[at] >= self.ends[at - 1]

    def pause(self, at: int) -> int:
        """How well the text can be cut before token `at`, 0 to 3.

        White space may belong to the token on either side, so it is looked for in the text.
        """
        text, left = self.text, self.starts[at]
        right = left
        while left > 0 and text[left - 1].isspace():
            left -= 1
        while right < len(text) and text[right].isspace():
            right += 1
        if self.guards is not None and self.guards.holds(left, right):
            return _TOKEN
        n_line_ends = text.count("\n", left, right)
        if n_line_ends > 1:
            return _PARAGRAPH
        if n_line_ends == 1:
            return _LINE_OR_SENTENCE
        if left == right:
            return _TOKEN
        tail = text[max(0, left - 3) : left].rstrip(_CLOSERS)
        return _LINE_OR_SENTENCE if tail.endswith(tuple(_SENTENCE_ENDS)) else _WORD


def _spans(
    document: Document, token_spans: TokenSpans, config: ChunkConfig
) -> Iterator[tuple[int, int, str]]:
    """Half-open character spans of the chunks of one document, and the title of each."""
    if config.chunk_tokens == 0 or _surely_fits(document, config.chunk_tokens):
        yield 0, len(document.text), document.title
        return
    tokens = _tokenise(document, token_spans)
    inner = [section for section in document.sections if not section.is_break]
    for part in parts_of(document, tokens.between, config.chunk_tokens):
        paths = [s.path for s in inner if part.start <= s.start < part.end]
        title = headed(document.title, max((part.path, *paths), key=lambda p: len("".join(p))))
        n_title = len(token_spans(title)) + _SEAM_TOKENS if title else 0
        budget = max(config.chunk_tokens - n_title, config.chunk_tokens // 2, 1)
        for start, end in _windows(tokens, part, budget, min(config.overlap, budget // 2)):
            yield start, end, headed(document.title, path_at(document.text, part, inner, start))


def _surely_fits(document: Document, chunk_tokens: int) -> bool:
    """Whether a document is one chunk whatever the tokenizer: no token of ASCII is shorter than 1.

    Names and definitions of ontologies are; cutting them takes longer than reading them.
    """
    n_chars = len(document.title) + len(document.text) + _SHORT_MARGIN
    is_short = n_chars <= chunk_tokens and not document.sections
    return is_short and document.text.isascii() and document.title.isascii()


def _windows(tokens: _Tokens, part: Part, budget: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Spans of at most `budget` tokens that cover a part."""
    begin, stop = bisect_left(tokens.starts, part.start), bisect_left(tokens.starts, part.end)
    first, last_end = begin, begin
    while stop - first > budget:
        end = _best_end(tokens, first, stop, budget, overlap)
        if end is not None and end <= last_end:  # beside a character of many tokens: no overlap
            first = last_end
            continue
        if end is None:
            break
        yield (tokens.starts[first] if first > begin else part.start), tokens.starts[end]
        first, last_end = _next_first(tokens, first, end, overlap), end
    yield (tokens.starts[first] if first > begin else part.start), part.end


def _best_end(tokens: _Tokens, first: int, stop: int, budget: int, overlap: int) -> int | None:
    """Token before which the chunk from `first` ends; None = it cannot be cut before `stop`."""
    # The chunk is longer than the overlap by a quarter of the budget, so that chunks advance.
    lowest = first + max(budget // 2, overlap + budget // 4, 1)
    best, best_pause = None, -1
    for at in range(first + budget, lowest - 1, -1):
        if not tokens.can_cut(at):
            continue
        pause = tokens.pause(at)
        if pause > best_pause:
            best, best_pause = at, pause
        if pause == _PARAGRAPH:
            break
    if best is not None:
        return best
    # Rare: one character of many tokens fills the window. Shorter first, then longer.
    shorter = range(lowest - 1, first, -1)
    longer = range(first + budget + 1, stop)
    return next((at for part in (shorter, longer) for at in part if tokens.can_cut(at)), None)


def _next_first(tokens: _Tokens, first: int, end: int, overlap: int) -> int:
    """First token of the next chunk: up to `overlap` tokens back, at a word's start if any."""
    earliest = max(end - overlap, first + 1)
    allowed = [at for at in range(earliest, end) if tokens.can_cut(at)]
    return next((at for at in allowed if tokens.pause(at) > _TOKEN), next(iter(allowed), end))


def _tokenise(document: Document, token_spans: TokenSpans) -> _Tokens:
    starts, ends = array("q"), array("q")
    for offset, block in _blocks(document.text):
        for start, end in token_spans(block):
            if end > start:
                starts.append(offset + start)
                ends.append(offset + end)
    return _Tokens(document.text, starts, ends, guards_of(document))


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Pieces of a text with their offsets, cut after a line end or a blank where there is one."""
    start = 0
    while len(text) - start > _BLOCK_CHARS:
        limit = start + _BLOCK_CHARS
        half = start + _BLOCK_CHARS // 2
        cut = max(text.rfind("\n", half, limit), -1)
        cut = cut if cut >= 0 else text.rfind(" ", half, limit)
        end = cut + 1 if cut >= 0 else limit
        yield start, text[start:end]
        start = end
    yield start, text[start:]
