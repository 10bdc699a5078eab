SHELL := /bin/bash
.DEFAULT_GOAL := help

# the first interpreter that works and is new enough; or say which: make setup PYTHON=/path/to/python3.12
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3; do \
    $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
endif

VENV := .venv
RUN := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(VENV)/bin/python
WORKERS ?= 2

.PHONY: help setup demo test test-times test-slow docs lint bench bench-algorithms

help:  ## this page
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.ready  ## install everything into .venv (once; again when the requirements change)

$(VENV)/.ready: pyproject.toml constraints.txt tests/torchvision_repair.py
	@test -n "$(PYTHON)" || { echo "no Python 3.11 to 3.13 found: install one, or type make setup PYTHON=/path/to/python"; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,all]'
	@$(VENV)/bin/python -P tests/torchvision_repair.py
	@touch $@
	@echo "ready: source $(VENV)/bin/activate"

demo: setup  ## align a small vision-language model on this machine, offline
	$(VENV)/bin/python -m aa_lightning.train algo=dpo modality=ti2t

test: setup  ## the tests (a few minutes)
	$(RUN) -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow" tests

test-times: setup  ## the tests, and the twenty that take longest
	$(RUN) -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow" --durations=20 tests

test-slow: setup  ## the tests that take long
	$(RUN) -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m slow tests

docs: setup  ## the tables in docs/
	$(RUN) docs/generate.py
	$(RUN) docs/generate_algorithms.py
	$(RUN) docs/generate_models.py

lint: setup  ## style
	$(VENV)/bin/ruff check src tests benchmarks docs
	$(VENV)/bin/ruff format --check src tests benchmarks docs

bench: setup  ## speed, side by side with TRL
	$(RUN) -m benchmarks

bench-algorithms: setup  ## every algorithm on Shapes, three seeds (hours)
	$(RUN) -m benchmarks.algorithms
