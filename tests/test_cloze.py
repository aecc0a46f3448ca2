"""Inverse cloze: what asks was part of what answers, and is missing from it nine times in ten."""

from __future__ import annotations

import random

from lbr_search.train.cloze import (
    KEPT_SHARE,
    MAX_WORDS,
    MIN_PASSAGE_WORDS,
    MIN_WORDS,
    PASSAGE_WORDS,
    cloze_pairs,
    passages_of,
)


def text(seed: int, n: int) -> str:
    """`n` sentences of 4 to 60 words, none of which comes twice."""
    draw = random.Random(seed)
    sentences = (
        " ".join([f"S{seed}x{number}"] + [f"w{draw.randrange(10**6)}" for _ in range(length)])
        for number, length in enumerate(draw.choices(range(3, 60), k=n))
    )
    return " ".join(f"{sentence}." for sentence in sentences)


def test_a_sentence_asks_for_the_rest_of_its_passage():
    """Every query stood in the text, its passage's words too; sizes are as promised."""
    texts = [text(seed, 40) for seed in range(120)]
    pairs = list(cloze_pairs(texts))
    by_group = {}
    for query, passage, group in pairs:
        by_group.setdefault(group, []).append((query, passage))
        assert MIN_WORDS <= len(query.split()) <= MAX_WORDS
        assert MIN_PASSAGE_WORDS <= len(passage.split()) < PASSAGE_WORDS + 60
        source = next(whole for whole in texts if query in whole)
        assert set(passage.split()) <= set(source.split())
    assert len(by_group) == 120
    kept = sum(query in passage for query, passage, _ in pairs) / len(pairs)
    assert len(pairs) > 600
    assert abs(kept - KEPT_SHARE) < 0.04  # three deviations of a share of .1 in 600


def test_the_same_texts_give_the_same_pairs_in_any_company():
    """What is drawn depends on the passage alone."""
    one, two = text(1, 30), text(2, 30)
    assert list(cloze_pairs([one, two])) == [*cloze_pairs([one]), *cloze_pairs([two])]


def test_short_texts_and_bare_tables_ask_nothing():
    """Too short, too long a sentence, or nothing left without it: no pair."""
    long_row = " ".join(["9"] * (MAX_WORDS + 1))
    only_one = " ".join(["Word"] * MIN_PASSAGE_WORDS) + "."
    assert list(cloze_pairs(["", "Short.", long_row, only_one])) == []


def test_no_sentence_is_lost_between_passages():
    """All sentences of a text stand in its passages, in order."""
    whole = text(3, 50)
    joined = " ".join(" ".join(sentences) for sentences in passages_of(whole))
    assert joined == whole
