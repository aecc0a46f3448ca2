"""The network: what the compression tokens may see, and that one text has one vector."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lbr_search.encoder import lbr
from lbr_search.encoder.batching import collate
from lbr_search.encoder.model import LbrModel, embed
from lbr_search.errors import EncoderError
from tests.tiny import tiny_backbone, tiny_bert_model, tiny_model

TEXTS = [[5, 9, 30, 31, 7], [8], [40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50], [9, 8, 7]]


def text_gradient(model: LbrModel, *, is_cut: bool) -> torch.Tensor:
    """Gradient of NLL(y | Z) with respect to the embeddings of x's tokens."""
    batch = collate([TEXTS[0]], n_compression_tokens=model.n_compression_tokens)
    size = batch.input_ids.shape[1]
    mask = torch.full((size, size), float("-inf")).triu(1)
    if is_cut:
        mask[len(TEXTS[0]) :, : len(TEXTS[0])] = float("-inf")
    batch = dataclasses.replace(batch, attention_mask=mask[None, None])
    table = model.backbone.embedding
    seen = []

    def keep(_module: object, _inputs: object, out: torch.Tensor) -> None:
        out.retain_grad()
        seen.append(out)

    hook = table.register_forward_hook(keep)
    compressed, _ = model.compress(batch, keep_text=True)
    model.generate_nll(compressed, collate([[3, 4, 5]], n_compression_tokens=0)).sum().backward()
    hook.remove()
    return seen[0].grad[0, : len(TEXTS[0])]


MODELS = {"llama": tiny_model, "bert": tiny_bert_model}


@pytest.mark.parametrize("kind", MODELS)
def test_cut_attention_lets_nothing_of_the_text_through(kind: str):
    """Cut off from x, the gradient of NLL(y | Z) on x is exactly zero; seeing x, it is not."""
    assert torch.equal(text_gradient(MODELS[kind](), is_cut=True), torch.zeros(5, 32))
    assert text_gradient(MODELS[kind](), is_cut=False).abs().amax(dim=1).min() > 1e-6


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("kv_heads", [2, 4])
def test_the_short_last_layer_equals_the_full_pass(k: int, kv_heads: int):
    """Computing the last layer at the compression tokens only changes no vector."""
    model = tiny_model(k, kv_heads)
    batch = collate(TEXTS, n_compression_tokens=k)
    short, states = model.compress(batch)
    full, _ = model.compress(batch, keep_text=True)
    assert states.numel() == 0
    torch.testing.assert_close(short, full, atol=1e-5, rtol=0)


def test_the_short_last_layer_has_the_gradients_of_the_full_pass():
    """Training through the short pass is training through the full one."""
    gradients = []
    for keep_text in (False, True):
        model = tiny_model()
        compressed, _ = model.compress(collate(TEXTS, n_compression_tokens=3), keep_text=keep_text)
        (compressed**3).sum().backward()
        gradients.append(
            {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-4, rtol=1e-4)


def texts_of_many_lengths() -> list[list[int]]:
    """32 texts of 1 to 30 tokens, in no order of length."""
    rng = np.random.default_rng(0)
    return [rng.integers(5, 390, size=rng.integers(1, 31)).tolist() for _ in range(32)]


@pytest.mark.parametrize("kind", MODELS)
def test_padding_side_order_and_batch_do_not_change_a_vector(kind: str):
    """Alone, among 32, padded left or right, sorted or not: the same vector within 1e-5."""
    model, texts = MODELS[kind](), texts_of_many_lengths()
    order = sorted(range(32), key=lambda i: len(texts[i]))
    with torch.inference_mode():
        alone = torch.cat(
            [embed(model.compress(collate([t], n_compression_tokens=3))[0]) for t in texts]
        )
        for side in ("left", "right"):
            for rows in (list(range(32)), order):
                batch = collate(
                    [texts[row] for row in rows], n_compression_tokens=3, padding_side=side
                )
                together = embed(model.compress(batch)[0])
                assert (together - alone[rows]).abs().max() < 1e-5, (side, rows)
    distances = torch.cdist(alone, alone) + 9 * torch.eye(32)
    assert distances.min() > 1e-3  # vectors that were all one would pass, too


@pytest.mark.parametrize("kind", MODELS)
def test_search_code_gives_the_vectors_of_training_code(kind: str, monkeypatch: pytest.MonkeyPatch):
    """Sorted inference in many small batches equals the training forward pass."""
    monkeypatch.setitem(lbr.BATCH_TOKENS, "cpu", 100)
    model, texts = MODELS[kind](), texts_of_many_lengths()
    vectors = lbr.encode_token_ids(model, texts, device=torch.device("cpu"))
    model.train()
    compressed, _ = model.compress(collate(texts, n_compression_tokens=3), keep_text=True)
    assert np.abs(vectors - embed(compressed).detach().numpy()).max() < 1e-5
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_a_later_text_token_changes_no_earlier_state(kind: str):
    """The text is read causally: what follows a token cannot be seen in its state."""
    model = MODELS[kind]()
    one, two = ([*TEXTS[2][:6], *ending] for ending in ([7, 8], [99, 120]))
    with torch.inference_mode():
        states = [
            model.compress(collate([ids], n_compression_tokens=3), keep_text=True)[1][0]
            for ids in (one, two)
        ]
    assert torch.equal(states[0][:6], states[1][:6])
    assert (states[0][6:] - states[1][6:]).abs().amax(dim=1).min() > 1e-4


def test_the_decoder_predicts_the_first_token_from_the_vectors():
    """token_nll equals a plain softmax over the logits that follow the soft tokens."""
    model = tiny_model()
    compressed, _ = model.compress(collate(TEXTS[:1], n_compression_tokens=3))
    losses, mask = model.token_nll(compressed, collate([[7, 8, 9]], n_compression_tokens=0))
    table = model.backbone.embedding.weight
    inputs = torch.cat([compressed @ model.bridge.weight.T, table[[7, 8]][None]], dim=1)
    logits = model.backbone.logits(model.backbone.states(inputs))[0, 2:]
    expected = -logits.log_softmax(-1)[torch.arange(3), torch.tensor([7, 8, 9])]
    torch.testing.assert_close(losses[0], expected, atol=1e-5, rtol=0)
    assert mask.tolist() == [[1.0, 1.0, 1.0]]


def test_text_nll_is_plain_language_modelling():
    """NLL(x) equals the causal LM's own loss on the texts, padding left out."""
    model = tiny_model()
    batch = collate(TEXTS, n_compression_tokens=3)
    _, states = model.compress(batch, keep_text=True)
    sums, count = 0.0, 0
    for ids in TEXTS:
        embedded = model.backbone.embedding(torch.tensor([ids]))
        logits = model.backbone.logits(model.backbone.states(embedded))[0, :-1]
        targets = torch.tensor(ids[1:], dtype=torch.long)
        sums += -logits.log_softmax(-1)[torch.arange(len(targets)), targets].sum()
        count += len(targets)
    torch.testing.assert_close(model.text_nll(states, batch), sums / count, atol=1e-5, rtol=0)


def test_every_third_target_of_text_nll_is_the_mean_over_its_places():
    """The sub-sampled losses of the three phases average to the whole, weighted by their counts."""
    model = tiny_model()
    batch = collate([TEXTS[2]], n_compression_tokens=3)
    _, states = model.compress(batch, keep_text=True)
    logits = model.backbone.logits(states[0, :10])
    each = -logits.log_softmax(-1)[torch.arange(10), torch.tensor(TEXTS[2][1:])]
    torch.testing.assert_close(model.text_nll(states, batch, every=3), each[[0, 3, 6, 9]].mean())


@pytest.mark.parametrize("k", [0, 17])
def test_the_number_of_compression_tokens_is_bounded(k: int):
    """k outside 1 to 16 is an error that names the range."""
    with pytest.raises(EncoderError, match="between 1 and 16"):
        LbrModel(tiny_backbone(), n_compression_tokens=k)


def test_the_bridge_starts_as_identity():
    """An untrained decoder reads Z itself."""
    assert torch.equal(tiny_model().bridge.weight, torch.eye(32))
