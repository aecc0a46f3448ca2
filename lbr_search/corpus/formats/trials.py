"""ClinicalTrials.gov studies, as its API gives them: one study, a list, or a page of a search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lbr_search.corpus.compressed import kind_suffix
from lbr_search.corpus.each import read_each
from lbr_search.corpus.formats.json_files import load_json
from lbr_search.corpus.outline import Outline, one_line, tidy
from lbr_search.corpus.readers import read_objects
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document

_OUTCOMES = {"primaryOutcomes": "Primary outcomes", "secondaryOutcomes": "Secondary outcomes"}


def read_trials(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Studies in the JSON of ClinicalTrials.gov (API version 2); the id is the NCT number.

    A .json file holds one study, a list of them, or ``{"studies": [...]}``; a .jsonl file one a
    line.
    """
    suffixes = (".json", ".jsonl", ".ndjson")
    return read_each(path, parse, suffixes, options=options, rejects=rejects)


def parse(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The studies of one file."""
    for number, study in _studies(file, rejects):
        protocol = study.get("protocolSection") if isinstance(study, dict) else None
        document = _study(protocol, options.domain) if isinstance(protocol, dict) else None
        if document is None:
            rejects.add(file, number, "no study: protocolSection with an nctId is missing")
        else:
            yield document


def _studies(file: Path, rejects: RejectSink) -> Iterator[tuple[int, Any]]:
    if kind_suffix(file) != ".json":
        yield from read_objects(file, rejects)
        return
    loaded = load_json(file)
    studies = loaded.get("studies", [loaded]) if isinstance(loaded, dict) else loaded
    yield from enumerate(studies if isinstance(studies, list) else [studies], start=1)


def _study(protocol: dict[str, Any], domain: str) -> Document | None:
    identity = _module(protocol, "identificationModule")
    nct = _text(identity.get("nctId"))
    if not nct:
        return None
    outline = Outline()
    summary = _module(protocol, "descriptionModule")
    _section(outline, "Brief summary", summary.get("briefSummary"))
    _section(outline, "Detailed description", summary.get("detailedDescription"))
    conditions = _module(protocol, "conditionsModule")
    _section(outline, "Conditions", "; ".join(_strings(conditions.get("conditions"))))
    arms = _module(protocol, "armsInterventionsModule")
    _section(outline, "Interventions", "\n".join(_named(arms.get("interventions"), "name")))
    outcomes = _module(protocol, "outcomesModule")
    for key, title in _OUTCOMES.items():
        _section(outline, title, "\n".join(_named(outcomes.get(key), "measure")))
    _section(
        outline, "Eligibility", _module(protocol, "eligibilityModule").get("eligibilityCriteria")
    )
    status, design = _module(protocol, "statusModule"), _module(protocol, "designModule")
    started = _text(_module(status, "startDateStruct").get("date"))[:4]
    return outline.build(
        nct,
        _text(identity.get("officialTitle")) or _text(identity.get("briefTitle")),
        domain=domain,
        metadata={
            "nct_id": nct,
            "status": _text(status.get("overallStatus")),
            "study_type": _text(design.get("studyType")),
            "phases": "; ".join(_strings(design.get("phases"))),
            "conditions": "; ".join(_strings(conditions.get("conditions"))),
            "year": int(started) if started.isdigit() else None,
        },
    )


def _section(outline: Outline, title: str, text: object) -> None:
    words = tidy(text) if isinstance(text, str) else ""
    if words:
        outline.heading(1, title)
        outline.paragraph(words)


def _module(holder: dict[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return one_line(value) if isinstance(value, str) else ""


def _strings(value: object) -> list[str]:
    return (
        [one_line(one) for one in value if isinstance(one, str)] if isinstance(value, list) else []
    )


def _named(value: object, key: str) -> Iterator[str]:
    """``name: description`` of each object of a list."""
    for one in value if isinstance(value, list) else ():
        if isinstance(one, dict) and _text(one.get(key)):
            description = _text(one.get("description"))
            yield _text(one[key]) + (f": {description}" if description else "")
