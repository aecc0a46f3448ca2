"""The mean of checkpoints: each weight by hand, and what cannot be averaged is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from lbr_search.encoder.checkpoint import LbrConfig, load_checkpoint, save_checkpoint
from lbr_search.encoder.lbr import LbrEncoder
from lbr_search.errors import ConfigError
from tests.hash_cli import run
from tests.tiny import tiny_model, tiny_tokenizer

CONFIG = LbrConfig(n_compression_tokens=3, max_tokens=16, stage="stage2")


SAID = ("### tiny", "#### Training data", "| notes | CC0 |")


def checkpoint(folder: Path, seed: int, config: LbrConfig = CONFIG) -> Path:
    model = tiny_model()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    save_checkpoint(model, tiny_tokenizer(), config, folder, dtype=torch.float32)
    return folder


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("insulin lowers glucose")
    return folder


def test_every_weight_is_the_weighted_mean(tmp_path: Path, notes: Path):
    """3 : 1, to what bfloat16 can hold; and the result encodes."""
    one, two = checkpoint(tmp_path / "one", 1), checkpoint(tmp_path / "two", 2)
    (one / "README.md").write_text("# tiny\n\n## Training data\n\n| notes | CC0 |\n")
    out = tmp_path / "mean"
    found = run(
        *("train", "average", one, two, "--weight", 3, "--weight", 1),
        *("--text", notes, "--out", out),
    )
    assert found.code == 0, found.err
    parts = [
        dict(load_checkpoint(f, dtype=torch.float32)[0].named_parameters()) for f in (one, two)
    ]
    mean, _, config = load_checkpoint(out, dtype=torch.float32)
    for name, parameter in mean.named_parameters():
        wanted = 0.75 * parts[0][name] + 0.25 * parts[1][name]
        assert torch.allclose(parameter, wanted.bfloat16().float(), atol=1e-7), name
        assert not torch.equal(parameter, parts[0][name].bfloat16().float()), name
    assert config == CONFIG
    assert (out / "int8.safetensors").is_file()
    card = (out / "README.md").read_text().splitlines()
    assert [s for s in card if s in SAID] == ["### tiny", "#### Training data", "| notes | CC0 |"]
    assert [line for line in card if line.startswith("## Run")] == [
        "## Run 1: share 0.75",
        "## Run 2: share 0.25",
    ]
    assert any(line.startswith("No card in `two`") for line in card)
    assert LbrEncoder(out, dtype="float32").encode_queries(["glucose"]).shape == (1, mean.dim)


def test_what_began_otherwise_is_refused(tmp_path: Path, notes: Path):
    """One message for each difference, and nothing is written."""
    from lbr_search.train.average import average_checkpoints

    one = checkpoint(tmp_path / "one", 1)
    other = dataclasses.replace(CONFIG, max_tokens=12)
    longer = checkpoint(tmp_path / "longer", 1, other)
    for folders, weights, message in (
        ([one, longer], [1.0, 1.0], "max_tokens is 16 and 12"),
        ([one], [1.0], "1 checkpoints"),
        ([one, one], [1.0, 0.0], "make no mean"),
    ):
        with pytest.raises(ConfigError, match=message):
            average_checkpoints(folders, weights, texts=[notes], out=tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
