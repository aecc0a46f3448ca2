# The commands of README: each makes .venv, installs, and does its job.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check bench clean

demo: $(STAMP)
	$(BIN)/lbr-search ingest
	$(BIN)/lbr-search query "why do my joints hurt after eating seafood and drinking beer"
	$(BIN)/lbr-search bench

# one process a core, one thread a process
test: $(STAMP)
	OMP_NUM_THREADS=1 LBR_CORPORA="$(LBR_CORPORA)" $(BIN)/python -m pytest -n auto

# what a change must pass besides the tests
check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# every suite below LBR_CORPORA/suites by every arm: report.html, report.json, README's tables, CHANGELOG's means; an hour
bench: $(STAMP)
	@test -d "$(LBR_CORPORA)/suites" || { echo "make bench LBR_CORPORA=DIR, where DIR holds suites/"; exit 1; }
	$(BIN)/lbr-search bench "$(LBR_CORPORA)/suites" --rerank maxsim --rerank likelihood \
	  --json report.json --html report.html --markdown README.md --means CHANGELOG.md

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV)
