# `make run` and `make test` are all that a new user needs: both first install into .venv, once.

PYTHON ?= python3
VENV ?= .venv
LIMIT ?=

# The tests start many processes, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help run test check bench clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(INSTALLED) ## ten-shot arithmetic on the embedded model; LIMIT='--limit 200' asks a tenth
	$(PY) -m evalkit run --task arithmetic --shots 10 $(LIMIT)

test: $(INSTALLED) ## the tests
	$(PY) -m pytest

check: $(INSTALLED) ## what CI runs: format, lint, types, tests
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest

bench: $(INSTALLED) ## all benchmarks, one after the other
	@for script in benchmarks/*.py; do echo "$$script"; $(PY) "$$script" || exit 1; done

clean: ## remove .venv, caches and built packages; reports stay
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One install, so that no second step can bring another torch. The stamp is made last: what was broken off begins anew.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'error: $(PYTHON) is not Python 3.11 or newer; try make PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check --prefer-binary --constraint constraints.txt --editable '.[dev]'
	@touch $@
