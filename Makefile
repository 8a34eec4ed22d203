# Two commands for a fresh checkout: `make run` and `make test`. Both set up what they need by themselves.

PYTHON ?= python3
VENV ?= .venv
PIP_INSTALL = $(VENV)/bin/python -m pip install --progress-bar off --constraint constraints.txt --editable
# One line for each package that is fetched, instead of pip's ten.
BRIEFLY = sed -un -e '/\.metadata/d' -e 's|^ *Downloading |  fetching |p' -e 's|^ *Using cached |  cached |p' -e 's|^Installing collected.*|  unpacking|p'
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
CORES := $(shell nproc 2>/dev/null || echo 1)

.DEFAULT_GOAL := help
.PHONY: help run test ort-web mutants lint format types check clean

help:
	@echo "make run     install, then run the whole founding experiment on a small embedded data set (minutes)"
	@echo "make test    install with the development tools, then run the test suite"
	@echo "make ort-web  fetch onnxruntime-web into the cache, for pages of students that our own kernels cannot run; needs npm"
	@echo "make mutants   plant 300 small faults, one at a time, and count those that the tests notice (an hour on two cores)"
	@echo "make lint    ruff: mistakes and formatting        make format   mend what ruff can"
	@echo "make types   mypy over src                        make check    lint, types and test"

run: $(VENV)/.installed
	$(VENV)/bin/understudy run digits --out "runs/digits-$$(date +%Y%m%d-%H%M%S)"

# One process per core with one thread each: two threads that share a core can be many times slower than one.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n $(CORES)

# Once for a user: two files of the npm package, pinned and checksummed. No export or page downloads anything.
ort-web: $(VENV)/.installed
	$(VENV)/bin/python -m understudy.export.web.library

# Goes on where it stopped; `rm -rf build/mutants` starts over. Options by MUTANTS="--seed 1 --only methods/".
mutants: $(VENV)/.installed-dev
	@$(PIP_INSTALL) '.[mutants]' | $(BRIEFLY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m mutation --workers $(CORES) $(MUTANTS)

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

format: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

types: $(VENV)/.installed-dev
	$(VENV)/bin/mypy

check: lint types test

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

# The stamp files spare a second install; they are older than pyproject.toml once a dependency changes.
$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing understudy and PyTorch: a few minutes the first time"
	@$(PIP_INSTALL) . | $(BRIEFLY)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing understudy, PyTorch and the development tools: a few minutes the first time"
	@$(PIP_INSTALL) '.[dev]' | $(BRIEFLY)
	@touch $@ $(VENV)/.installed

$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is missing; on Debian: apt-get install python3 python3-venv" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "error: Python 3.11 to 3.13 is needed; choose one by: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "error: Python's venv module is missing; on Debian: apt-get install python3-venv, then repeat the command" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@
