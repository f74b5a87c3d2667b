# Every target sets up what it needs: a virtual environment in .venv, then the pinned dependencies, once.
#
#   make train      train a recurrent policy; ARGS are handed on, e.g. make train ARGS="--seed 2 --minutes 5"
#   make test       the tests, on all cores
#   make test-fast  those that need no second and start no training, for while one works
#   make check      what a change must pass: format, lint, types, layers, tests
#   make docs       the documentation as a site, in site/
#   make format     rewrite the code in the one format

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
EXTRAS := dev,docs,openspiel,pettingzoo,popgym
CONFIG ?= configs/laptop.toml
ARGS   ?=

# A file's tests stay together, for they share what is costly to set up; the order is tests/conftest.py's.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder
# pytest keeps what it makes of a test file beside it, or every process makes it anew, some 5 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: train test test-fast check format lint docs setup clean

train: $(STAMP)
	@echo "quintet: training $(CONFIG); press Ctrl-C to stop (it saves a checkpoint, --resume goes on from it)"
	@$(BIN)/quintet train --config $(CONFIG) $(ARGS)

test: $(STAMP)
	$(PYTEST) $(ARGS)

test-fast: $(STAMP)
	$(PYTEST) -m "not slow" $(ARGS)

check: lint
	$(PYTEST) $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)
	$(BIN)/python -m docs.generate
	$(BIN)/python -m tests.layout.print_tree --write >/dev/null
	$(BIN)/zensical build --strict --clean
	@echo "quintet: open site/index.html, or serve it with: $(BIN)/zensical serve"

setup: $(STAMP)

# torch comes first and alone: it is the large one, and this way nothing else chooses its version.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
		echo "quintet: no '$(PYTHON)' on PATH; install Python 3.11 or 3.12, or name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "quintet: $(PYTHON) is $$($(PYTHON) -V 2>&1), Quintet needs 3.11 or newer; name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "quintet: $(PYTHON) cannot make virtual environments (on Debian and Ubuntu that is the package python3-venv)" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "quintet: making the virtual environment $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "quintet: installing torch (large; a few minutes on a first install)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	@echo "quintet: installing the other dependencies"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]' -c constraints.txt
	@touch $(STAMP)
	@echo "quintet: installed"

clean:
	rm -rf $(VENV) build dist site .cache *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
