"""Stage 2's terms by numpy, GradCache against the direct loss, and the learned temperature."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lbr_search.encoder.batching import collate
from lbr_search.encoder.model import embed
from lbr_search.errors import ConfigError
from lbr_search.train.batches import Stage2Batch
from lbr_search.train.stage2 import Temperature, nearest_others, stage2_loss
from lbr_search.train.stage_config import DistillConfig, Stage1Config, Stage2Config, check_teachers
from tests.test_losses import numpy_info_nce
from tests.tiny import tiny_model

N_QUERIES, N_PASSAGES = 5, 3


def examples(seed: int = 0) -> Stage2Batch:
    """5 queries with 3 passages each, of uneven lengths, two teachers and one judge."""
    rng = np.random.default_rng(seed)

    def texts(n: int) -> list[list[int]]:
        return [rng.integers(5, 90, size=rng.integers(2, 9)).tolist() for _ in range(n)]

    queries, passages = texts(N_QUERIES), texts(N_QUERIES * N_PASSAGES)
    excluded = rng.random((N_QUERIES, N_QUERIES * N_PASSAGES)) < 0.2
    taught = [rng.normal(size=(N_QUERIES * (1 + N_PASSAGES), dim)) for dim in (32, 7)]
    judged = rng.normal(size=(N_QUERIES, N_PASSAGES)) * 3
    return Stage2Batch(
        collate(queries, n_compression_tokens=3),
        collate(passages, n_compression_tokens=3),
        excluded,
        collate([ids[:4] for ids in queries], n_compression_tokens=0),
        tuple(torch.nn.functional.normalize(torch.tensor(t).float(), dim=1) for t in taught),
        (torch.tensor(judged).float(),),
    )


def vectors(batch: Stage2Batch) -> tuple[np.ndarray, np.ndarray]:
    model = tiny_model()
    with torch.no_grad():
        return tuple(
            embed(model.compress(part)[0]).numpy() for part in (batch.queries, batch.passages)
        )


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_matryoshka_sums_over_the_beginnings_of_the_vectors():
    """Each trained size has its own InfoNCE of shortened vectors; the loss is their sum."""
    batch = examples()
    config = Stage2Config(gamma=0, matryoshka=(0.5, 8), temperature=0.1)
    terms = stage2_loss(tiny_model(), batch, config, is_warm=False)
    queries, passages = vectors(batch)
    total = 0.0
    for size, name in ((32, "info_nce"), (16, "info_nce@16"), (8, "info_nce@8")):
        cut = [unit(part[:, :size]) for part in (queries, passages)]
        expected = numpy_info_nce(*cut, 0.1, batch.excluded)
        assert float(terms[name].detach()) == pytest.approx(expected, rel=1e-4)
        total += expected
    assert float(terms["loss"].detach()) == pytest.approx(total, rel=1e-4)


def test_the_symmetric_loss_also_asks_each_passage_for_its_query():
    """Mean of the two directions; what a query excludes, its passage excludes too."""
    batch = examples()
    config = Stage2Config(gamma=0, symmetric=True, temperature=0.1)
    found = stage2_loss(tiny_model(), batch, config, is_warm=False)["loss"]
    queries, passages = vectors(batch)
    there = numpy_info_nce(queries, passages, 0.1, batch.excluded)
    positives = passages[::N_PASSAGES]
    back = 0.0
    for i in range(N_QUERIES):
        left = [j for j in range(N_QUERIES) if j == i or not batch.excluded[j, i * N_PASSAGES]]
        logits = queries[left] @ positives[i] / 0.1
        back += (np.log(np.exp(logits).sum()) - queries[i] @ positives[i] / 0.1) / N_QUERIES
    assert float(found.detach()) == pytest.approx((there + back) / 2, rel=1e-4)


def test_each_teacher_counts_equally():
    """Two encoders and a cross-encoder: the mean of the three terms that each gives alone."""
    batch = examples()
    config = Stage2Config(gamma=0, distill=2.0)
    terms = stage2_loss(tiny_model(), batch, config, is_warm=False)
    alone = []
    for taught, judged in (
        (batch.taught[:1], ()),
        (batch.taught[1:], ()),
        ((), batch.judged),
    ):
        one = dataclasses.replace(batch, taught=taught, judged=judged)
        alone.append(stage2_loss(tiny_model(), one, config, is_warm=False)["distill"].item())
    assert terms["distill"].item() == pytest.approx(sum(alone) / 3, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(
        terms["info_nce"].item() + 2 * terms["distill"].item(), rel=1e-5
    )
    queries, passages = vectors(batch)
    scores = np.einsum("bd,bgd->bg", queries, passages.reshape(N_QUERIES, N_PASSAGES, -1)) / 0.05
    p, q = (
        np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (batch.judged[0].numpy(), scores)
    )
    assert alone[2] == pytest.approx((p * np.log(p / q)).sum(axis=1).mean(), rel=1e-4)
    other = dataclasses.replace(config, ranking_loss="margin-mse")
    one = dataclasses.replace(batch, taught=())
    margins = stage2_loss(tiny_model(), one, other, is_warm=False)["distill"].item()
    teacher = batch.judged[0].numpy()
    expected = ((scores[:, :1] - scores[:, 1:] - teacher[:, :1] + teacher[:, 1:]) ** 2).mean()
    assert margins == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("micro_batch", [0, 2])
def test_the_generative_term_is_the_mean_over_the_query_tokens(micro_batch: int):
    """Each query is generated from its own positive; every token counts alike."""
    batch, model = examples(), tiny_model()
    config = Stage2Config(gamma=0.5, micro_batch=micro_batch)
    terms = stage2_loss(model, batch, config, is_warm=False)
    sums, count = 0.0, 0
    for row in range(N_QUERIES):
        ids = batch.passages.input_ids[row * N_PASSAGES][
            batch.passages.text_mask[row * N_PASSAGES]
        ].tolist()
        query = batch.target.input_ids[row][batch.target.text_mask[row]].tolist()
        compressed, _ = model.compress(collate([ids], n_compression_tokens=3))
        losses, _ = model.token_nll(compressed, collate([query], n_compression_tokens=0))
        sums, count = sums + float(losses.sum().detach()), count + len(query)
    assert terms["nll_q"].item() == pytest.approx(sums / count, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(
        terms["info_nce"].item() + 0.5 * terms["nll_q"].item(), rel=1e-5
    )


@pytest.mark.parametrize("micro_batch", [0, 2])
def test_the_posterior_tells_a_querys_passage_from_the_nearest_others(micro_batch: int):
    """By Bayes from the decoder's own log-likelihoods, each computed alone."""
    batch, model = examples(), tiny_model()
    config = Stage2Config(gamma=0, posterior=0.5, posterior_passages=4, micro_batch=micro_batch)
    terms = stage2_loss(model, batch, config, is_warm=False)
    queries, passages = vectors(batch)
    scores = queries @ passages.T
    total = 0.0
    for row in range(N_QUERIES):
        own = row * N_PASSAGES
        others = [
            at for at in np.argsort(-scores[row]) if at != own and not batch.excluded[row, at]
        ]
        query = batch.target.input_ids[row][batch.target.text_mask[row]].tolist()
        target = collate([query], n_compression_tokens=0)
        logs = []
        for at in (own, *others[:4]):
            ids = batch.passages.input_ids[at][batch.passages.text_mask[at]].tolist()
            compressed, _ = model.compress(collate([ids], n_compression_tokens=3))
            logs.append(-float(model.token_nll(compressed, target)[0].sum().detach()))
        total += (np.logaddexp.reduce(logs) - logs[0]) / N_QUERIES
    assert terms["posterior"].item() == pytest.approx(total, rel=1e-4)
    assert terms["loss"].item() == pytest.approx(
        terms["info_nce"].item() + 0.5 * terms["posterior"].item(), rel=1e-5
    )


def test_the_nearest_others_leave_out_what_is_no_negative():
    """Neither the own passage nor an excluded one; -1 where there are too few."""
    scores = torch.tensor([[0.9, 0.8, 0.7], [0.1, 0.2, 0.3]])
    excluded = torch.tensor([[False, True, False], [True, False, True]])
    others = nearest_others(scores, torch.tensor([0, 1]), excluded, n=5)
    assert others.tolist() == [[2, -1], [-1, -1]]


def test_a_query_whose_passage_has_no_rival_adds_nothing_to_the_posterior():
    """All others excluded: -log 1 = 0, and no gradient that is not a number."""
    batch = dataclasses.replace(examples(), excluded=np.ones((5, 15), dtype=bool))
    model = tiny_model()
    terms = stage2_loss(model, batch, Stage2Config(gamma=0, posterior=1), is_warm=False)
    assert terms["posterior"].item() == 0
    terms["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("micro_batch", [2, 4, 100])
def test_gradcache_has_the_gradients_of_the_direct_loss(micro_batch: int):
    """All terms at once, temperature included: the same loss, gradients equal within 1e-5."""
    found = []
    for size in (0, micro_batch):
        model, temperature = tiny_model(), Temperature(0.2)
        config = Stage2Config(
            gamma=0.5,
            posterior=0.5,
            distill=1.0,
            symmetric=True,
            matryoshka=(0.5,),
            micro_batch=size,
        )
        terms = stage2_loss(model, examples(), config, is_warm=True, temperature=temperature())
        terms["loss"].backward()
        parameters = {**dict(model.named_parameters()), "temperature": temperature.place}
        found.append((terms["loss"].item(), {n: p.grad for n, p in parameters.items()}))
    (loss, direct), (cached_loss, cached) = found
    assert cached_loss == pytest.approx(loss, abs=1e-5)
    assert all(gradient is not None for gradient in direct.values())
    assert max(gradient.abs().max() for gradient in direct.values()) > 0.1
    for name, gradient in direct.items():
        assert (gradient - cached[name]).abs().max() < 1e-5, name


def test_gradcache_never_holds_more_than_its_rows():
    """No forward pass is wider than `micro_batch` texts, and none leaves its graph behind."""
    model, widths, saved = tiny_model(), [], []
    original = model.backbone.states

    def states(embedded: torch.Tensor, **options: torch.Tensor) -> torch.Tensor:
        widths.append(len(embedded))
        made: torch.Tensor = original(embedded, **options)
        return made

    model.backbone.states = states

    def count(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.numel())
        return tensor

    sizes = []
    for micro_batch in (0, 2):
        saved.clear()
        config = Stage2Config(micro_batch=micro_batch)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = stage2_loss(model, examples(), config, is_warm=False)["loss"]
        sizes.append(sum(saved))
        if not micro_batch:
            assert max(widths) == N_QUERIES * N_PASSAGES
            widths.clear()
    n_forward = len(widths)
    loss.backward()
    assert max(widths) == 2
    assert len(widths) == 2 * n_forward  # each part once more, with its graph
    assert sizes[1] < sizes[0] / 10


def test_a_learned_temperature_starts_where_told_and_stays_in_bounds():
    """It falls when positives lead, rises when they do not, and cannot leave its bounds."""
    assert Temperature(0.05)().item() == pytest.approx(0.05, rel=1e-5)
    for seed_of_positive, is_falling in ((0, True), (1, False)):
        temperature = Temperature(0.05)
        scores = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        logits = scores / temperature()
        wanted = torch.tensor([0, 1] if seed_of_positive == 0 else [1, 0])
        torch.nn.functional.cross_entropy(logits, wanted).backward()
        assert (temperature.place.grad > 0) == is_falling
    for far, bound in ((-60.0, 0.01), (60.0, 1.0)):
        temperature = Temperature(0.05)
        temperature.place.data.fill_(far)
        assert temperature().item() == pytest.approx(bound, rel=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"same_source_share": 0.7, "same_domain_share": 0.5}, "together at most 1"),
        ({"temperature_mode": "free"}, "fixed or learned"),
        ({"temperature_mode": "learned", "temperature": 2.0}, "where a learned one stays"),
        ({"ranking_loss": "mse"}, "kl or margin-mse"),
        ({"matryoshka": (0.5, 0.0)}, "matryoshka"),
        ({"micro_batch": -1}, "micro_batch"),
        ({"mine_every": 0}, "mine_every"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object], message: str):
    """The error names the setting and what it may be."""
    with pytest.raises(ConfigError, match=message):
        Stage2Config(**wrong)


def test_teachers_and_weights_must_fit():
    """A weight without a teacher, and a cross-encoder with nothing to compare, are refused."""
    one, two = Stage1Config(), Stage2Config(distill=1.0)
    with pytest.raises(ConfigError, match="at least one encoder"):
        check_teachers(one, two, DistillConfig())
    with pytest.raises(ConfigError, match="compares a query's passage with its mined ones"):
        check_teachers(one, two, DistillConfig(cross_encoders=("x",)))
    with pytest.raises(ConfigError, match=r"stage1\.distill"):
        check_teachers(Stage1Config(distill=1.0), one_negative(), DistillConfig((), ("x",)))
    with pytest.raises(ConfigError, match="one for each of the 2 teachers"):
        check_teachers(one, two, DistillConfig(("x", "y"), weights=(1.0,)))
    with pytest.raises(ConfigError, match=r"distill\.weights"):
        check_teachers(one, two, DistillConfig(("x", "y"), weights=(1.0, 0.0)))
    check_teachers(one, two, DistillConfig(("x", "y"), weights=(1.0, 3.0)))
    check_teachers(one, one_negative(), DistillConfig(cross_encoders=("x",)))


def one_negative() -> Stage2Config:
    return Stage2Config(distill=1.0, model_negatives=1)
