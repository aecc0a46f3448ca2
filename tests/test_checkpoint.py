"""Checkpoints and the encoder that reads them."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lbr_search.encoder.checkpoint import (
    LbrConfig,
    checkpoint_fingerprint,
    load_checkpoint,
    save_checkpoint,
)
from lbr_search.encoder.lbr import LbrEncoder
from lbr_search.encoder.load import load_encoder
from lbr_search.errors import EncoderError
from lbr_search.protocols import EncodeReport
from tests.tiny import WORDS, tiny_model, tiny_tokenizer

CONFIG = LbrConfig(
    name="tiny",
    n_compression_tokens=3,
    max_tokens=12,
    query_prompt="<query>",
    passage_prompt="<passage>",
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    save_checkpoint(tiny_model(), tiny_tokenizer(), CONFIG, folder, dtype=torch.float32)
    return folder


def test_a_checkpoint_reads_back_bit_for_bit(checkpoint: Path):
    """Weights, settings and tokenizer survive writing and reading."""
    model, tokenizer, config = load_checkpoint(checkpoint, dtype=torch.float32)
    before = dict(tiny_model().named_parameters())
    after = dict(model.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert config == CONFIG
    assert tokenizer.decode(tokenizer.encode("sort a list").ids) == "sort a list"


def test_shards_read_back(tmp_path: Path):
    """Weights split over several files are the same weights, the rows of a large tensor too."""
    folder = tmp_path / "sharded"
    before = dict(tiny_model().named_parameters())
    table = before["backbone.model.embed_tokens.weight"]
    limit = table.nbytes // 3
    save_checkpoint(
        tiny_model(), tiny_tokenizer(), CONFIG, folder, dtype=torch.float32, max_shard_bytes=limit
    )
    shards = sorted(folder.glob("model-*.safetensors"))
    sizes = [sum(t.nbytes for t in load_file(path).values()) for path in shards]
    assert len(shards) > 3 and max(sizes) <= limit
    parts = [name for path in shards for name in load_file(path) if ".rows." in name]
    assert len(parts) >= 3
    model, _, _ = load_checkpoint(folder, dtype=torch.float32)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    next(path for path in shards if parts[1] in load_file(path)).unlink()
    with pytest.raises(EncoderError, match="damaged or incomplete"):
        load_checkpoint(folder, dtype=torch.float32)


def test_no_file_of_a_checkpoint_is_a_pickle(checkpoint: Path):
    """Only safetensors, JSON and text."""
    suffixes = {path.suffix for path in checkpoint.iterdir()}
    assert suffixes <= {".safetensors", ".json", ".jinja", ".txt", ".md"}


@pytest.mark.parametrize("name", ["model.safetensors", "lbr.safetensors", "lbr.json"])
def test_a_truncated_checkpoint_says_so(checkpoint: Path, name: str):
    """A file cut in half is an error that names the checkpoint, not a wrong vector."""
    path = checkpoint / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(EncoderError, match=r"damaged or incomplete(.|\n)*fix: copy"):
        LbrEncoder(checkpoint)


def test_a_folder_that_is_no_checkpoint_says_what_to_give(tmp_path: Path):
    """The error names the missing file and the kinds of encoder there are."""
    with pytest.raises(EncoderError, match=r"no lbr\.json(.|\n)*st:FOLDER"):
        LbrEncoder(tmp_path)
    with pytest.raises(EncoderError, match="there is no encoder"):
        load_encoder(str(tmp_path / "nothing"))


def test_an_unknown_key_in_lbr_json_is_an_error(checkpoint: Path):
    """A misspelt setting is not ignored."""
    path = checkpoint / "lbr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_token": 5}))
    with pytest.raises(EncoderError, match="use max_tokens"):
        LbrEncoder(checkpoint)


def test_the_fingerprint_changes_with_all_that_changes_a_vector(checkpoint: Path):
    """Weights, limits, prompts and dtype each give another fingerprint; the name does not."""
    seen = {checkpoint_fingerprint(checkpoint, dtype="float32")}
    seen.add(checkpoint_fingerprint(checkpoint, dtype="bfloat16"))
    path = checkpoint / "lbr.json"
    original = json.loads(path.read_text())
    for key, value in (("max_tokens", 13), ("query_prompt", "q: ")):
        path.write_text(json.dumps({**original, key: value}))
        seen.add(checkpoint_fingerprint(checkpoint, dtype="float32"))
    assert len(seen) == 4
    path.write_text(json.dumps({**original, "name": "other"}))
    assert checkpoint_fingerprint(checkpoint, dtype="float32") in seen
    weights = bytearray((checkpoint / "lbr.safetensors").read_bytes())
    weights[-1] ^= 1
    (checkpoint / "lbr.safetensors").write_bytes(weights)
    assert checkpoint_fingerprint(checkpoint, dtype="float32") not in seen


def test_the_encoder_counts_what_it_cuts(checkpoint: Path):
    """Texts over the limit are cut at a token, counted, and equal their own beginning."""
    encoder = LbrEncoder(checkpoint)
    long = " ".join(WORDS * 2)
    spans = encoder.token_spans(long)
    report = EncodeReport()
    vectors = encoder.encode_passages([long, "aspirin", long[: spans[11][1]]], report=report)
    n_short = len(encoder.token_spans("aspirin"))
    assert (report.n_texts, report.n_truncated) == (3, 1)
    assert report.n_tokens_lost == len(spans) - 12
    assert report.n_tokens == 12 + n_short + 12
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)


def test_queries_and_passages_carry_their_prompts(checkpoint: Path):
    """The same text is another vector as a query, and prompts written in a text are only text."""
    encoder = LbrEncoder(checkpoint)
    query, passage = encoder.encode_queries(["blood"])[0], encoder.encode_passages(["blood"])[0]
    assert np.abs(query - passage).max() > 1e-3
    spelled = encoder.encode_passages(["<query>blood"])[0]
    assert encoder.token_spans("<query>blood")[0] != (0, len("<query>"))
    assert np.abs(spelled - query).max() > 1e-3


def test_order_and_batch_do_not_change_vectors(checkpoint: Path):
    """32 texts of mixed lengths encode as each alone, in the order given."""
    encoder = LbrEncoder(checkpoint)
    texts = [" ".join(WORDS[: 1 + n % 7]) for n in range(32)]
    together = encoder.encode_passages(texts)
    alone = np.concatenate([encoder.encode_passages([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5


def test_token_spans_cover_the_text(checkpoint: Path):
    """Offsets are in order, without gaps, also for characters of several bytes."""
    text = "β-carotene: 40 % naïve 🧪 x_y"
    spans = LbrEncoder(checkpoint).token_spans(text)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    assert all(a[1] >= b[0] for a, b in itertools.pairwise(spans))


def test_empty_input_gives_no_rows_and_an_empty_text_one(checkpoint: Path):
    """No texts: shape (0, D). An empty text still has a vector, by its prompt."""
    encoder = LbrEncoder(checkpoint)
    assert encoder.encode_passages([]).shape == (0, 32)
    assert np.isfinite(encoder.encode_passages([""])).all()


def test_a_spec_with_a_dtype_opens_that_dtype(checkpoint: Path):
    """`PATH#bfloat16` is another fingerprint than `PATH#float32`, and specs round-trip."""
    single, half = (load_encoder(f"{checkpoint}#{name}") for name in ("float32", "bfloat16"))
    assert single.fingerprint != half.fingerprint
    assert load_encoder(half.spec).fingerprint == half.fingerprint
    with pytest.raises(EncoderError, match="unknown dtype"):
        load_encoder(f"{checkpoint}#int3")


def test_a_spec_with_a_size_shortens_vectors_to_what_was_trained(tmp_path: Path):
    """`PATH@16` is the beginning of each vector at length 1, with a fingerprint of its own."""
    folder = tmp_path / "tiny@home"  # an @ in the folder's name is no size
    config = dataclasses.replace(CONFIG, dims=(32, 16))
    save_checkpoint(tiny_model(), tiny_tokenizer(), config, folder, dtype=torch.float32)
    whole, short = load_encoder(f"{folder}#float32"), load_encoder(f"{folder}@16#float32")
    texts = ["insulin lowers glucose", "sort"]
    expected = whole.encode_passages(texts)[:, :16]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    vectors = short.encode_passages(texts)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert (short.dim, short.encode_queries([]).shape) == (16, (0, 16))
    assert vectors.flags.c_contiguous
    assert short.name == "tiny@16"
    assert short.fingerprint != whole.fingerprint
    assert load_encoder(short.spec).fingerprint == short.fingerprint
    assert load_encoder(f"{folder}@32#float32").fingerprint == whole.fingerprint
    assert load_encoder(f"{folder}@32#float32").spec == whole.spec
    with pytest.raises(EncoderError, match=r"vectors of 8 numbers; trained: 32, 16"):
        load_encoder(f"{folder}@8")
    with pytest.raises(EncoderError, match="not a size of vectors"):
        load_encoder(f"{folder}@half")


def test_a_checkpoint_without_trained_sizes_has_only_its_own(checkpoint: Path):
    """Shortening what was never trained for it is an error that names the whole size."""
    assert load_encoder(f"{checkpoint}@32#float32").dim == 32
    with pytest.raises(EncoderError, match=r"trained: 32\."):
        load_encoder(f"{checkpoint}@16")
