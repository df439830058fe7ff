# Everything a newcomer needs: `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN ?= runs/quickstart

.PHONY: help quickstart test test-slow bench lint format types clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "symjax_lib needs Python 3.11 or newer; name one with 'make PYTHON=python3.12'."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]'
	@touch $@

quickstart: $(STAMP)  ## train four small networks on digits and write the report (three minutes once installed)
	$(BIN)/python -m train digits_quick --out $(RUN) --resume
	$(BIN)/python -m analysis report --run $(RUN)

test: lint types  ## lint, types, unit tests, doctests and notebooks
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow"

test-slow: $(STAMP)  ## the tests that take minutes
	$(BIN)/python -m pytest -q -m slow

bench: $(STAMP)  ## the table of ratios to PyTorch; TORCH=python of an environment with torch
	$(BIN)/python -m benchmarks $(if $(TORCH),--torch $(TORCH))

lint: $(STAMP)  ## ruff, style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## pyright
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(STAMP)  ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout notebooks/*.ipynb

clean:  ## remove the environment and caches; runs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
