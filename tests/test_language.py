"""The language of texts whose files do not say it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lbr_search.corpus.files import read_files
from lbr_search.corpus.language import language_of
from lbr_search.corpus.readers import read_text_folder
from lbr_search.corpus.rejects import Rejects
from lbr_search.protocols import ReadOptions

TEXTS = {
    "de": "Die Patientin kam mit seit drei Tagen zunehmender Atemnot und Husten in die Klinik. "
    "Bei der Untersuchung fanden sich beidseits feuchte Rasselgeräusche, der Blutdruck war erhöht, "
    "und im Röntgenbild zeigte sich ein Erguss auf der rechten Seite, der noch am Abend punktiert "
    "wurde.",
    "fr": "Le patient se plaint depuis une semaine de douleurs thoraciques qui augmentent à "
    "l'effort et disparaissent au repos. Son médecin lui a prescrit un traitement contre "
    "l'hypertension, mais il ne le prend pas tous les jours parce que les comprimés lui donnent "
    "des vertiges.",
    "en": "The patient has complained for a week of chest pain that grows worse with effort and "
    "goes away at rest. Her doctor has prescribed something against high blood pressure, which she "
    "does not take every day, since the tablets make her dizzy in the morning.",
}


@pytest.mark.parametrize("language", TEXTS)
def test_prose_is_recognised(language: str):
    assert language_of(TEXTS[language]) == language


@pytest.mark.parametrize(
    "text",
    [
        *("", "Atemnot und Husten", "1.5 2.5 3.5\n" * 200, "\x00\ud800" * 300, "x" * 5_000),
        "a\ud800b " * 130,  # letters enough to be asked about, and no UTF-8
    ],
    ids=["empty", "short", "numbers", "no text", "one letter", "lone surrogates"],
)
def test_what_is_no_prose_has_no_language(text: str):
    assert language_of(text) == ""


def test_language_is_noted_and_what_is_not_english_counted(tmp_path: Path):
    for name, text in TEXTS.items():
        (tmp_path / f"{name}.txt").write_text(text, "utf-8")
    (tmp_path / "short.md").write_text("# Husten\n\nund Atemnot", "utf-8")
    with Rejects(None) as rejects:
        documents = list(read_text_folder(tmp_path, options=ReadOptions(), rejects=rejects))
    noted = {one.doc_id: one.metadata.get("language") for one in documents}
    assert noted == {"de.txt": "de", "en.txt": "en", "fr.txt": "fr", "short.md": None}
    assert (rejects.skipped, rejects.noted) == ({}, {"language guessed": 2})


def test_readers_in_processes_of_their_own_note_it_too(tmp_path: Path):
    docx = pytest.importorskip("docx")
    book = docx.Document()
    book.add_paragraph(TEXTS["fr"])
    book.core_properties.language = ""
    book.save(str(tmp_path / "fr.docx"))
    page = f"<html><body><article><p>{TEXTS['de']}</p></article></body></html>"
    (tmp_path / "de.html").write_text(page, "utf-8")
    with Rejects(tmp_path / "rejected.jsonl") as rejects:
        documents = list(read_files(tmp_path, options=ReadOptions(), rejects=rejects))
    assert {one.metadata["language"] for one in documents} == {"de", "fr"}
    assert (rejects.n_rejected, rejects.skipped) == (0, {})
    assert rejects.noted == {"language guessed": 2}
    lines = (tmp_path / "rejected.jsonl").read_text("utf-8").splitlines()
    assert sorted(json.loads(line)["noted"] for line in lines) == [
        "language guessed: de",
        "language guessed: fr",
    ]
