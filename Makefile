# The two commands of README: each makes .venv, installs, and does its job.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check clean

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

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV)
