"""JSON that is read whole: tables as arrays of objects, and Jupyter notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lbr_search.corpus.compressed import open_bytes
from lbr_search.corpus.each import MAX_FILE_BYTES, decoded, read_each
from lbr_search.corpus.outline import markdown_sections
from lbr_search.corpus.records import RowConverter, RowError, choose_columns
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document

_MAX_OUTPUT_CHARS = 2_000
"""Of what a notebook's cell has printed; the rest is rarely what one looks for."""


def read_json_array(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """A .json file that is an array of objects, or an object that holds one; rows as in .jsonl."""
    return read_each(path, _parse_array, (".json",), options=options, rejects=rejects)


def read_notebook(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Jupyter notebooks (.ipynb): text, code in fences, and the beginning of what was printed."""
    return read_each(path, _parse_notebook, (".ipynb",), options=options, rejects=rejects)


def load_json(file: Path) -> Any:  # noqa: ANN401 - whatever it holds
    """The value of a JSON file, plain or compressed.

    Raises:
        RowError: not JSON, nested too deep, or unpacked larger than `MAX_FILE_BYTES`.
    """
    with open_bytes(file) as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise RowError(f"too large: over {MAX_FILE_BYTES:,} bytes")
    try:
        return json.loads(decoded(data))
    except json.JSONDecodeError as error:
        raise RowError(f"broken JSON: {error.msg} at line {error.lineno}") from error
    except (RecursionError, ValueError) as error:
        raise RowError(f"broken JSON: {error}") from error


def _parse_array(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    loaded = load_json(file)
    if isinstance(loaded, dict):
        lists = [value for value in loaded.values() if _is_rows(value)]
        loaded = lists[0] if len(lists) == 1 else loaded
    if not _is_rows(loaded):
        raise RowError("not a table: neither an array of objects nor an object that holds one")
    names = dict.fromkeys(str(name) for row in loaded for name in row)
    columns = choose_columns(names, options, file=file)
    converter = RowConverter(file, columns, domain=options.domain, rejects=rejects)
    for number, row in enumerate(loaded, start=1):
        document = converter.convert(row, number)
        if document is not None:
            yield document


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _parse_notebook(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    del rejects
    notebook = load_json(file)
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise RowError("no notebook: it has no list of cells (format 4)")
    language = _language(notebook)
    parts = [part for cell in cells if isinstance(cell, dict) for part in _cell(cell, language)]
    text = "\n\n".join(parts)
    sections = markdown_sections(text)
    yield Document(
        doc_id=file.name,
        text=text,
        title=sections[0].path[0] if sections else file.stem,
        domain=options.domain,
        metadata={"language": language},
        sections=sections,
    )


def _language(notebook: dict[str, Any]) -> str:
    holder: object = notebook
    for name in ("metadata", "kernelspec", "language"):
        holder = holder.get(name) if isinstance(holder, dict) else None
    return holder if isinstance(holder, str) else "python"


def _cell(cell: dict[str, Any], language: str) -> Iterator[str]:
    source = _joined(cell.get("source"))
    if source.strip():
        is_code = cell.get("cell_type") == "code"
        yield f"```{language}\n{source}\n```" if is_code else source
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        if isinstance(output, dict):
            data = output.get("data")
            plain = data.get("text/plain") if isinstance(data, dict) else None
            printed = _joined(output.get("text") or plain)[:_MAX_OUTPUT_CHARS]
            if printed.strip():
                yield f"```\n{printed}\n```"


def _joined(value: object) -> str:
    if isinstance(value, list):
        return "".join(one for one in value if isinstance(one, str))
    return value if isinstance(value, str) else ""
