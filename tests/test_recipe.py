"""Every setting of a recipe is read by code, and the sections are those of `Recipe`."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from lbr_search.train.recipe import SECTIONS, Recipe

PACKAGE = Path(__file__).parent.parent / "lbr_search"
CODE = [re.sub(r"self\.\w+", "", path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")]
"""Without what the records check of themselves."""


@pytest.mark.parametrize("section", sorted(set(SECTIONS.values()), key=lambda cls: cls.__name__))
def test_no_setting_is_without_a_reader(section: type):
    """A field that nothing reads would be a promise that nobody keeps."""
    for field in dataclasses.fields(section):
        assert any(re.search(rf"\.{field.name}\b", text) for text in CODE), field.name


def test_the_sections_are_the_fields_of_a_recipe():
    """What a file may hold is what a run has."""
    assert list(SECTIONS) == [field.name for field in dataclasses.fields(Recipe)]
