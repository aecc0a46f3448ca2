"""Stage 2: generative-refined contrastive learning on the compressed vectors (represent).

`L2 = InfoNCE(e(q), e(d)) + gamma * NLL(q | Z(d))`, and with teachers
`+ distill * distance(e, teacher)`. Source of the idea: arXiv:2601.11124; the formula is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lbr_search.encoder.model import LbrModel, embed
from lbr_search.train.batches import Stage2Batch
from lbr_search.train.losses import distillation, false_negatives, info_nce
from lbr_search.train.stage_config import Stage2Config


def stage2_loss(
    model: LbrModel, batch: Stage2Batch, config: Stage2Config, *, is_warm: bool
) -> dict[str, Tensor]:
    """The loss and its terms, each () float32 in nats.

    Args:
        model: in training mode.
        batch: B queries, B * G passages.
        config: temperature and weights.
        is_warm: the scores mean something by now, so mined passages may be judged by them. An
            untrained encoder puts every text near every other and would drop all negatives.
    """
    query_compressed, _ = model.compress(batch.queries)
    passage_compressed, _ = model.compress(batch.passages)
    queries, passages = embed(query_compressed), embed(passage_compressed)
    n_passages = len(passages) // len(queries)  # G
    excluded = torch.as_tensor(batch.excluded, device=queries.device)
    if n_passages > 1 and is_warm:
        margin = config.false_negative_margin
        likely = false_negatives(queries.detach(), passages.detach(), margin=margin)
        is_mined = torch.arange(len(passages), device=queries.device) % n_passages > 0
        excluded = excluded | (likely & is_mined)
    contrastive = info_nce(queries, passages, temperature=config.temperature, excluded=excluded)
    terms, loss = {"info_nce": contrastive}, contrastive
    if config.gamma:
        positives = passage_compressed[::n_passages]  # (B, k, D)
        losses, mask = model.token_nll(positives, batch.target)
        terms["nll_q"] = (losses * mask).sum() / mask.sum()
        loss = loss + config.gamma * terms["nll_q"]
    if config.distill:
        vectors = torch.cat([queries, passages])
        temperature = config.temperature
        parts = [distillation(vectors, one, temperature=temperature) for one in batch.taught]
        terms["distill"] = torch.stack(parts).mean()
        loss = loss + config.distill * terms["distill"]
    return {"loss": loss, **terms}
