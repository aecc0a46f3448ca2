"""Stage 1's terms: phrase weights, the KL to a frozen copy, and corruption, each by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lbr_search.encoder.batching import collate
from lbr_search.errors import ConfigError
from lbr_search.train.batches import Stage1Batch
from lbr_search.train.stage1 import _corrupt, continuation_logits, stage1_loss
from lbr_search.train.stage_config import Stage1Config
from tests.tiny import tiny_backbone, tiny_model

TEXTS = [[1, 9, 30, 31, 7], [1, 8], [1, 41, 42, 43, 44, 45, 46]]
TARGETS = [[3, 4], [5, 6, 7, 8], [9]]


def batch() -> Stage1Batch:
    return Stage1Batch(
        collate(TEXTS, n_compression_tokens=3), collate(TARGETS, n_compression_tokens=0), n_prompt=1
    )


def marked(text: list[tuple[int, int]], target: list[tuple[int, int]]) -> Stage1Batch:
    """The batch with tokens marked as inside a phrase, by (row, place)."""
    made = batch()
    inside = []
    for part, places in ((made.text, text), (made.target, target)):
        mask = torch.zeros(part.input_ids.shape, dtype=torch.bool)
        for row, place in places:
            mask[row, place] = True
        inside.append(mask)
    return dataclasses.replace(made, text_phrases=inside[0], target_phrases=inside[1])


def nll_of_texts() -> list[list[float]]:
    """Loss of each token of each text but the first, from the plain logits."""
    model = tiny_model()
    losses = []
    for ids in TEXTS:
        logits = model.backbone.logits(
            model.backbone.states(model.backbone.embedding(torch.tensor([ids])))
        )[0, :-1]
        wanted = torch.tensor(ids[1:])
        losses.append((-logits.log_softmax(-1)[torch.arange(len(wanted)), wanted]).tolist())
    return losses


def test_tokens_inside_phrases_weigh_more():
    """Both terms are the weighted mean of the tokens' losses, a phrase's tokens counting thrice."""
    model = tiny_model()
    made = marked(text=[(0, 2), (0, 3), (2, 0)], target=[(1, 1), (1, 2)])
    terms = stage1_loss(model, made, Stage1Config(), seed=0, phrase_weight=3.0)
    flat, weights = [], []
    for row, losses in enumerate(nll_of_texts()):
        flat += losses
        weights += [3.0 if (row, i + 1) in ((0, 2), (0, 3)) else 1.0 for i in range(len(losses))]
    expected = sum(a * b for a, b in zip(flat, weights, strict=True)) / sum(weights)
    assert float(terms["nll_x"].detach()) == pytest.approx(expected, abs=1e-5)
    each, _ = model.token_nll(model.compress(made.text)[0], made.target)
    y = [each[0, 0], each[0, 1], each[1, 0], 3 * each[1, 1], 3 * each[1, 2], each[1, 3], each[2, 0]]
    assert float(terms["nll_y"].detach()) == pytest.approx(float(sum(y).detach()) / 11, abs=1e-5)
    plain = stage1_loss(model, batch(), Stage1Config(), seed=0, phrase_weight=3.0)
    first = stage1_loss(model, made, Stage1Config(), seed=0, phrase_weight=1.0)
    assert torch.equal(plain["loss"], first["loss"])
    assert abs(float((plain["loss"] - terms["loss"]).detach())) > 1e-3


def test_the_kl_term_is_the_divergence_from_the_frozen_model_that_reads_the_text():
    """KL(frozen(y | x) || f(y | Z)) per token equals its definition, one text at a time."""
    model, frozen = tiny_model(), tiny_backbone(kv_heads=4).eval()
    made = batch()
    config = Stage1Config(kl_weight=0.25, lambda_lm=0.0)
    terms = stage1_loss(model, made, config, seed=0, frozen=frozen)
    divergences = []
    for text, target in zip(TEXTS, TARGETS, strict=True):
        ids = torch.tensor([text + target])
        wanted = frozen.logits(frozen.states(frozen.embedding(ids)))[0, len(text) - 1 : -1]
        compressed, _ = model.compress(collate([text], n_compression_tokens=3))
        ours = model.target_logits(compressed, collate([target], n_compression_tokens=0))
        p, log_p, log_q = wanted.softmax(-1), wanted.log_softmax(-1), ours.log_softmax(-1)
        divergences += (p * (log_p - log_q)).sum(-1).tolist()
    assert float(terms["kl_y"].detach()) == pytest.approx(sum(divergences) / 7, abs=1e-5)
    expected = 0.75 * terms["nll_y"] + 0.25 * terms["kl_y"]
    torch.testing.assert_close(terms["loss"], expected)
    terms["loss"].backward()
    assert all(p.grad is None for p in frozen.parameters())
    assert model.compression.grad is not None


def test_the_frozen_model_reads_the_text_that_padding_does_not_reach():
    """A batch whose targets are shorter than k is joined like any other."""
    frozen = tiny_backbone().eval()
    short = Stage1Batch(
        collate(TEXTS, n_compression_tokens=3),
        collate([[3], [4], [5]], n_compression_tokens=0),
    )
    logits = continuation_logits(frozen, short)
    for row, text in enumerate(TEXTS):
        alone = frozen.logits(frozen.states(frozen.embedding(torch.tensor([text]))))[0, -1]
        torch.testing.assert_close(logits[row], alone, atol=1e-5, rtol=0)


def test_corruption_replaces_a_share_of_the_text_and_nothing_else():
    """Prompt, padding and compression places stay; the same seed hits the same tokens."""
    model = tiny_model()
    rows = [[1, *range(100, 160)] for _ in range(40)] + [[1, 100]]
    made = Stage1Batch(
        collate(rows, n_compression_tokens=3),
        collate([[3]] * 41, n_compression_tokens=0),
        n_prompt=1,
    )
    hit = _corrupt(made, model, 0.3, seed=5)
    is_changed = hit.input_ids != made.text.input_ids
    assert not is_changed[:, 0].any()
    assert not is_changed[~made.text.text_mask].any()
    assert 0.25 < is_changed[:40, 1:61].float().mean() < 0.35
    assert torch.equal(hit.input_ids, _corrupt(made, model, 0.3, seed=5).input_ids)
    assert not torch.equal(hit.input_ids, _corrupt(made, model, 0.3, seed=6).input_ids)


def test_the_language_model_term_reads_the_text_uncorrupted():
    """Z comes from the corrupted text, NLL(x) from the text as it is."""
    model = tiny_model()
    clean = stage1_loss(model, batch(), Stage1Config(), seed=3)
    dirty = stage1_loss(model, batch(), Stage1Config(corruption=0.9), seed=3)
    torch.testing.assert_close(clean["nll_x"], dirty["nll_x"])
    assert abs(float((clean["nll_y"] - dirty["nll_y"]).detach())) > 1e-3


@pytest.mark.parametrize(
    "wrong", [{"phrase_weight": 0.5}, {"kl_weight": 1.5}, {"max_phrases": 0}, {"corruption": -0.1}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]):
    """The error names the setting."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Stage1Config(**wrong)
