"""LoRA on a causal LM of transformers: only the additions learn, and the checkpoint holds none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3Config

from lbr_search.encoder.backbone import load_backbone
from lbr_search.encoder.checkpoint import load_checkpoint
from lbr_search.errors import ConfigError
from lbr_search.train.lora import add_adapters, merge_adapters
from lbr_search.train.recipe import ModelConfig
from lbr_search.train.run import train
from tests.test_ablate import write_toy
from tests.tiny import tiny_tokenizer

IDS = torch.tensor([[5, 9, 30, 31, 7]])


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    """A random two-layer Qwen3 with a tokenizer."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )
    folder = tmp_path / "qwen"
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def states(backbone) -> torch.Tensor:
    with torch.inference_mode():
        return backbone.eval().states(backbone.embedding(IDS))


def test_merged_weights_are_what_was_trained(qwen: Path):
    """Additions begin as nothing; after a step the merged backbone is the adapted one."""
    backbone = load_backbone(str(qwen), dtype=torch.float32)
    before, names = states(backbone), [name for name, _ in backbone.named_parameters()]
    add_adapters(backbone, rank=2, seed=1)
    assert torch.equal(states(backbone), before)
    learning = [name for name, p in backbone.named_parameters() if p.requires_grad]
    assert len(learning) == 2 * 7 * 2 and all("lora_" in name for name in learning)
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    adapted = states(backbone)
    assert (adapted - before).abs().max() > 0.01
    merge_adapters(backbone)
    torch.testing.assert_close(states(backbone), adapted, atol=1e-5, rtol=0)
    assert [name for name, _ in backbone.named_parameters()] == names
    assert all(parameter.requires_grad for parameter in backbone.parameters())


def test_a_run_with_lora_gives_a_plain_checkpoint(tmp_path: Path, qwen: Path):
    """Both stages change linear layers and no embedding; opening the result needs no peft."""
    overrides = [f"model.backbone={qwen}", "model.lora_rank=2"]
    overrides += [f"stage{n}_loop.{key}" for n in (1, 2) for key in ("steps=2", "eval_every=0")]
    report = train(
        "all", write_toy(tmp_path), out=tmp_path / "out", data=tmp_path, overrides=overrides
    )
    trained, _, _ = load_checkpoint(tmp_path / "out/stage2/checkpoint", dtype=torch.float32)
    begun, _, _ = load_checkpoint(tmp_path / "out/untrained", dtype=torch.float32)
    old = dict(begun.named_parameters())
    changed = {n for n, p in trained.named_parameters() if not torch.equal(p, old[n])}
    assert {"compression", "bridge.weight"} <= changed
    assert all("proj" in name for name in changed - {"compression", "bridge.weight"})
    assert len(changed) == 2 + 2 * 7
    files = [path.name for path in report.checkpoint.iterdir()]
    assert not [name for name in files if "adapter" in name]
    assert "LoRA of rank 2, merged" in (report.checkpoint / "README.md").read_text()
    code = (
        "import sys, json; sys.modules['peft'] = None\n"
        "from pathlib import Path; from lbr_search.encoder.lbr import LbrEncoder\n"
        f"encoder = LbrEncoder(Path({str(report.checkpoint)!r}), dtype='float32')\n"
        "print(json.dumps(encoder.encode_queries(['item1']).shape))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert json.loads(done.stdout) == [1, 32], done.stderr


def test_random_weights_are_trained_whole():
    """LoRA beside weights that know nothing would freeze noise."""
    with pytest.raises(ConfigError, match="trained whole"):
        ModelConfig(lora_rank=4)
