"""The shipped recipe `smoke`: both stages from random weights, with nothing but the repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lbr_search.encoder.lbr import LbrEncoder
from tests.hash_cli import run

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_train_all_smoke_learns_to_find_held_out_passages(tmp_path: Path):
    """Titles and terms that training never saw find their passages among some 190 others.

    Chance is 0.02; stage 1 alone, from random weights, is near it.
    """
    outcome = run("train", "all", "smoke", "--out", tmp_path, "--data", ROOT)
    assert outcome.code == 0, outcome.err
    scores = {}
    for stage in ("stage1", "stage2"):
        lines = (tmp_path / stage / "log.jsonl").read_text().splitlines()
        measured = [record for line in lines if "score" in (record := json.loads(line))]
        scores[stage] = max(record["dev_ndcg@10"] for record in measured)
    assert scores["stage2"] > max(0.4, scores["stage1"] + 0.2), scores
    encoder = LbrEncoder(tmp_path / "checkpoint", dtype="float32")
    gout, other = encoder.encode_passages(["Gout is a painful arthritis.", "Benzene is a ring."])
    assert encoder.encode_queries(["gout"])[0] @ (gout - other) > 0
