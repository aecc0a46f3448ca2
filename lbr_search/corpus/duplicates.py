"""Near duplicates: texts that share most of their runs of five words, found by MinHash.

Source: Broder 1997, "On the resemblance and containment of documents"; banding as in Leskovec,
Rajaraman and Ullman, *Mining of Massive Datasets*, sec. 3.4. Each bucket remembers its first text
only, so a text is compared with at most `N_BANDS` others and the time grows with the words read:
measured 5,000 to 17,000 texts/s on one core, of 190 to 20 words each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lbr_search.corpus.overlap import WordRuns

NEAR = 0.8
"""Share of common runs from which on two texts are said to be nearly the same."""
N_WORDS = 5
MIN_RUNS = 8
"""Of shorter texts, a share of runs says little, and punctuation may be all that parts them."""
N_BANDS, N_ROWS = 16, 4
"""16 * 4 hashes: a pair that shares half of its runs meets in some band in 64 of 100 cases, one
that shares 85 in 100 practically always; the estimated share has a deviation of .05."""
_SEED = 20_240_501
_SHIFT = np.uint64(32)


class Signatures:
    """Texts -> MinHash signatures: the share of equal places estimates the share of equal runs."""

    def __init__(self) -> None:
        self._runs = WordRuns(N_WORDS)
        generator = np.random.default_rng(_SEED)
        shape = (N_BANDS * N_ROWS, 1)
        drawn = generator.integers(1, 2**63, size=shape, dtype=np.uint64)
        self._factors = drawn * np.uint64(2) + np.uint64(1)

    def of(self, text: str) -> NDArray[np.uint32] | None:
        """(`N_BANDS` * `N_ROWS`,); None = shorter than 12 words, where a share says little."""
        found = self._runs.of(text)
        if len(found) < MIN_RUNS:
            return None
        # multiply-shift hashing: the upper half of an odd multiple
        least: NDArray[np.uint64] = ((found[None, :] * self._factors) >> _SHIFT).min(axis=1)
        return least.astype(np.uint32)


def band_keys(signature: NDArray[np.uint32]) -> list[bytes]:
    """One key a band: texts that share a key are worth comparing."""
    parts = signature.reshape(N_BANDS, N_ROWS)
    return [bytes([band]) + part.tobytes() for band, part in enumerate(parts)]


class FirstOfKind:
    """Texts one after the other: which earlier one does a text nearly repeat?

    Args:
        threshold: share of the runs of both that they must have in common (Jaccard, estimated).
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._signer = Signatures()
        self._buckets: dict[bytes, int] = {}
        self._signatures: dict[int, NDArray[np.uint32]] = {}

    def repeated(self, text: str, number: int) -> int:
        """The number of the earlier text that this one nearly repeats.

        -1 = none; then it is remembered under `number`. A text of fewer than 12 words repeats
        none, and none repeats it.
        """
        signature = self._signer.of(text)
        if signature is None:
            return -1
        keys = band_keys(signature)
        met = sorted({self._buckets[key] for key in keys if key in self._buckets})
        if met:
            known = np.stack([self._signatures[one] for one in met])
            shares = (known == signature).mean(axis=1)
            best = int(shares.argmax())
            if shares[best] >= self._threshold:
                return met[best]
        self._signatures[number] = signature
        for key in keys:
            self._buckets.setdefault(key, number)
        return -1


def near_duplicates(texts: Sequence[str], *, threshold: float) -> NDArray[np.int64]:
    """For each text, the earlier text that it nearly repeats.

    Args:
        texts: N texts, in an order that says which of two stays.
        threshold: as of `FirstOfKind`.

    Returns:
        (N,) positions of earlier texts that repeat none themselves; -1 = the text is new, or
        shorter than 12 words.
    """
    first = FirstOfKind(threshold)
    found = [first.repeated(text, number) for number, text in enumerate(texts)]
    return np.asarray(found, dtype=np.int64)
