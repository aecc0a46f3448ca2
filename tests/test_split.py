"""Batches cut into parts: every row once, with its own negatives and teachers, and its share."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lbr_search.encoder.batching import collate
from lbr_search.train.batches import Stage1Batch, Stage2Batch
from lbr_search.train.losses import info_nce
from lbr_search.train.recipe import Stage2Config
from lbr_search.train.split import split_stage1, split_stage2
from lbr_search.train.stage2 import stage2_loss
from tests.tiny import tiny_model

TEXTS = [[10 + row] * (3 + row % 2) for row in range(15)]


def pairs(n: int, per_query: int) -> Stage2Batch:
    passages = TEXTS[: n * per_query]
    excluded = torch.zeros(n, n * per_query, dtype=torch.bool).numpy()
    excluded[0, per_query + 1] = True
    return Stage2Batch(
        collate([[40 + row, 41] for row in range(n)], n_compression_tokens=3),
        collate(passages, n_compression_tokens=3),
        excluded,
        collate([[40 + row, 41] for row in range(n)], n_compression_tokens=0),
        (torch.arange(n * (1 + per_query)).float()[:, None],),
    )


def test_stage1_parts_hold_every_row_once():
    """Five rows in three parts: texts, targets and teachers stay side by side."""
    texts = collate(TEXTS[:5], n_compression_tokens=3)
    batch = Stage1Batch(
        texts,
        collate(TEXTS[:5], n_compression_tokens=0),
        taught=(torch.eye(5),),
        text_phrases=texts.text_mask,
        target_phrases=torch.eye(5, dtype=torch.bool),
    )
    parts = split_stage1(batch, 3)
    assert [share for _, share in parts] == [1 / 5, 2 / 5, 2 / 5]
    for whole, name in ((texts.input_ids, "text"), (batch.target.input_ids, "target")):
        joined = torch.cat([getattr(part, name).input_ids for part, _ in parts])
        assert torch.equal(joined, whole)
    assert torch.equal(torch.cat([part.taught[0] for part, _ in parts]), torch.eye(5))
    assert torch.equal(torch.cat([part.text_phrases for part, _ in parts]), texts.text_mask)
    assert torch.equal(torch.cat([part.target_phrases for part, _ in parts]).float(), torch.eye(5))
    assert len(split_stage1(batch, 8)) == 5


@pytest.mark.parametrize("per_query", [1, 3])
def test_stage2_parts_are_batches_of_their_own(per_query: int):
    """A part's loss is the loss of a batch made of its pairs alone, exclusions included."""
    batch = pairs(5, per_query)
    (first, share), (second, _) = split_stage2(batch, 2)
    assert share == 2 / 5
    model, config = tiny_model(), Stage2Config(temperature=0.5, gamma=0.0)
    terms = stage2_loss(model, first, config, is_warm=False)
    from lbr_search.encoder.model import embed

    queries, passages = (embed(model.compress(part)[0]) for part in (batch.queries, batch.passages))
    expected = info_nce(
        queries[:2],
        passages[: 2 * per_query],
        temperature=0.5,
        excluded=torch.from_numpy(batch.excluded[:2, : 2 * per_query]),
    )
    assert terms["info_nce"].item() == pytest.approx(expected.item(), abs=1e-6)
    passages_behind = [5 + 2 * per_query + row for row in range(3 * per_query)]
    assert second.taught[0][:, 0].tolist() == [2, 3, 4, *passages_behind]
    assert len(split_stage2(batch, 4)) == 2  # a single pair has no negatives


def test_every_field_of_a_batch_is_cut():
    """Who adds a field to a batch adds it to the split."""
    for cls, names in (
        (Stage1Batch, {"text", "target", "taught", "text_phrases", "target_phrases"}),
        (Stage2Batch, {"queries", "passages", "excluded", "target", "taught", "judged"}),
    ):
        assert {field.name for field in dataclasses.fields(cls)} - {"n_prompt"} == names
