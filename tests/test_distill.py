"""Teachers read what the student reads, and nearness to them is measured as said."""

from __future__ import annotations

import numpy as np
import torch

from lbr_search.encoder.batching import collate, tokenize
from lbr_search.train.distill import Teachers
from lbr_search.train.losses import distillation
from tests.tiny import tiny_tokenizer


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
