"""Spelling, numerals and hyphens: tables of real terms; abbreviations as Schwartz and Hearst."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbr_search.terms.abbreviations import (
    count_definitions,
    definitions,
    expand,
    is_short_form,
    long_form,
)
from lbr_search.terms.medical import arabic, medical
from lbr_search.terms.spelling import american

SAME = """
anaemia = anemia
haemoglobin = hemoglobin
haemorrhage = hemorrhage
leukaemia = leukemia
ischaemic = ischemic
hypoglycaemia = hypoglycemia
septicaemia = septicemia
uraemic = uremic
oedema = edema
oesophagus = esophagus
oestrogen = estrogen
foetus = fetus
foetal = fetal
diarrhoea = diarrhea
gonorrhoea = gonorrhea
dyspnoea = dyspnea
apnoea = apnea
paediatric = pediatric
orthopaedic = orthopedic
gynaecology = gynecology
anaesthesia = anesthesia
coeliac = celiac
caecum = cecum
faecal = fecal
aetiology = etiology
tumour = tumor
tumours = tumors
behaviour = behavior
colour = color
humoural = humoral
randomised = randomized
hospitalisation = hospitalization
characterise = characterize
immunised = immunized
organised = organized
analyse = analyze
paralysed = paralyzed
sulphate = sulfate
sulphonamide = sulfonamide
centre = center
fibre = fiber
litres = liters
labelled = labeled
ageing = aging
homoeopathy = homeopathy
leucocyte = leukocyte
paracetamol = acetaminophen
adrenaline = epinephrine
type II = type 2
Type II = type-2
stage IIIA = stage 3a
grade IV = grade 4
phase iii = phase 3
class I = class 1
factor VIII = factor 8
types I = type 1
bipolar II = bipolar 2
angiotensin II = angiotensin 2
IL-6 = IL6
COVID-19 = COVID 19
COVID-19 = COVID19
TNF-alpha = TNF-\u03b1
anti-inflammatory = antiinflammatory
T-cell = Tcell
follow-up = followup
non\u2011small = non-small
HbA1c = hba1c
"""


@pytest.mark.parametrize("line", SAME.strip().splitlines())
def test_variants_share_what_tells_them_apart(line):
    """Two ways to write one thing share their most specific term."""
    one, _, other = line.partition(" = ")
    terms, others = medical(one), medical(other)
    shared = set(terms) & set(others)
    digits = [term for term in terms if any(c.isdigit() for c in term)]
    if digits:
        assert max(digits, key=len) in shared
    else:
        assert max(terms, key=len) in shared


@pytest.mark.parametrize(
    "word",
    ["exercise", "noise", "raise", "promise", "premise", "advise", "revise", "precise",
     "expertise", "rise", "wise", "otherwise", "disease", "diagnosis", "analysis", "poem",
     "theorem", "aerobic", "does", "toes", "shoes", "hour", "four", "your", "michael"],
)  # fmt: skip
def test_words_that_only_look_british(word):
    """They stay as they are."""
    assert american(word) == word


@given(st.text(max_size=40))
def test_american_is_idempotent_enough_to_repeat(word):
    """The same word always gives the same spelling."""
    assert american(word) == american(word)


@pytest.mark.parametrize(
    ("numeral", "digits"),
    [("I", "1"), ("II", "2"), ("III", "3"), ("IV", "4"), ("V", "5"), ("VI", "6"), ("IX", "9"),
     ("X", "10"), ("XIV", "14"), ("IIIB", "3b"), ("2", "2"), ("3A", "3a"), ("iv", "4")],
)  # fmt: skip
def test_numerals(numeral, digits):
    """Roman numbers subtract a smaller digit before a larger one."""
    assert arabic(numeral) == digits


def test_types_differ():
    """Type 1 and type 2 share the word, not the number; a measured value is no type."""
    one, two = set(medical("type 1 diabetes")), set(medical("type II diabetes"))
    assert {"type", "diabet"} == one & two
    assert "type1" in one
    assert "type2" in two
    assert "level3" not in medical("levels 3.5 mmol")


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("Chronic obstructive pulmonary disease (COPD) kills.",
         [("COPD", "Chronic obstructive pulmonary disease")]),
        ("We used a hidden Markov model (HMM).", [("HMM", "hidden Markov model")]),
        ("the heat shock transcription factor (HSF)", [("HSF", "heat shock transcription factor")]),
        ("in situ hybridization (ISH)", [("ISH", "in situ hybridization")]),
        ("HMM (hidden Markov model) is used", [("HMM", "hidden Markov model")]),
        ("acute myocardial infarction (AMI; n = 12)", [("AMI", "acute myocardial infarction")]),
        ("magnetic resonance imaging (MRI) or computed tomography (CT)",
         [("MRI", "magnetic resonance imaging"), ("CT", "computed tomography")]),
        ("alpha-1-antitrypsin (A1AT)", [("A1AT", "alpha-1-antitrypsin")]),
        ("as shown before (see Table 2)", []),
        ("twelve patients (12)", []),
        ("the disease (COPD)", []),
        ("no brackets, COPD", []),
        ("unclosed (COPD", []),
        ("(COPD)", []),
    ],
)  # fmt: skip
def test_definitions(text, pairs):
    """Both orders; the long form is the shortest that spells the short one."""
    assert list(definitions(text)) == pairs


def test_short_and_long_forms():
    """The first letter must begin a word, and the long form must not hold the short one."""
    assert is_short_form("TNF-a")
    assert not is_short_form("2003")
    assert not is_short_form("a very long one")
    assert long_form("ABC", "xa big cat") == ""
    assert long_form("HIV", "the HIV") == ""


def test_the_table_of_a_corpus_takes_the_most_frequent_form():
    """Long forms are counted without case; a tie goes to the first by alphabet."""
    texts = ["atrial fibrillation (AF)", "Atrial fibrillation (AF)", "amniotic fluid (AF)"]
    assert count_definitions(texts) == {"AF": "atrial fibrillation"}
    assert count_definitions(texts[1:]) == {"AF": "amniotic fluid"}


def test_expansion_of_queries():
    """Words with the case of the table, also with a plural s, each once."""
    table = {"COPD": "chronic obstructive pulmonary disease", "PAH": "aromatic hydrocarbon"}
    assert expand("COPD, COPD and PAHs", table) == [
        ("COPD", table["COPD"]),
        ("PAHs", table["PAH"]),
    ]
    assert expand("copd", table) == []


@given(st.text(max_size=120))
def test_no_text_crashes_the_search_for_abbreviations(text):
    """Any string gives pairs whose long form stands in it."""
    for _, long in definitions(text + " (ABC)"):
        assert long in text + " (ABC)"
