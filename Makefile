# Every verb sets up what it needs in .venv and does so again only when pyproject.toml changes; `make` lists the verbs.

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)
HOW_TO_GET_VENV := import sys; \
  print("make: on Debian and Ubuntu: apt-get install python%d.%d-venv" % sys.version_info[:2])
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# A test waits more than it computes, so twice as many workers as cores; and whoever has nothing left takes from others.
WORKERS ?= $(shell echo $$((2 * $$(nproc))))
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:
.PHONY: help demo chaos test test-slow check gen bench conformance lines clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.ready-demo ## six promises, kept over real sockets in front of you
	@$(BIN)/python examples/demo.py $(ARGS)

test: $(VENV)/.ready-test ## all tests but the slow ones; ARGS="-k name" goes to pytest
	@$(PYTEST) $(PARALLEL) -m 'not slow' $(ARGS)

test-slow: $(VENV)/.ready-test ## kills, walks, floods, soaks and gigabytes; ARGS as above
	@$(PYTEST) $(PARALLEL) -m slow $(ARGS)

check: $(VENV)/.ready-check ## lint, format, types, generated code, architecture
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python scripts/gen --check
	@$(BIN)/python scripts/unasync --check
	@$(BIN)/python scripts/picture --check
	@$(PYTEST) -q --no-header tests/test_architecture.py

chaos: $(VENV)/.ready-test ## everything at once for a quarter of an hour while servers are killed; ARGS="--short", ARGS="--seed N"
	@$(BIN)/python -m tests.chaos $(ARGS)

gen: $(VENV)/.ready-check ## write envd_proto/ anew from proto/, envd_sdk/_sync/ from envd_sdk/_async/, the picture from the imports
	@$(BIN)/python scripts/gen
	@$(BIN)/python scripts/unasync
	@$(BIN)/python scripts/picture

bench: $(VENV)/.ready-demo ## measure the daemon on this machine, beside floors measured in the same run
	@$(BIN)/python benchmarks/run.py

conformance: $(VENV)/.ready-test ## the Connect project's own suite over every wire; needs Go
	@$(BIN)/python -m tests.conformance.connect_suite.run $(ARGS)

lines: $(VENV)/.ready-test ## the lines of docs/compatibility.md over every wire
	@$(PYTEST) $(PARALLEL) --every-wire tests/conformance $(ARGS)

clean: ## remove .venv, caches and build products
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What each verb needs beside the daemon itself.
$(VENV)/.ready-demo: EXTRAS :=
$(VENV)/.ready-test: EXTRAS := [test,sdk-test,gen]
$(VENV)/.ready-check: EXTRAS := [check,gen,test]

$(VENV)/.ready-%: pyproject.toml $(BIN)/python
	@echo "installing what 'make $*' needs into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(EXTRAS)' || { \
	  echo "make: could not install from the package index; pip's message above says why." >&2; \
	  echo "make: behind a mirror, set PIP_INDEX_URL; without network, PIP_NO_INDEX and PIP_FIND_LINKS." >&2; \
	  exit 1; }
	@touch $@

# A link to a Python that is no longer there counts as missing, hence --clear.
$(BIN)/python:
	@test -n '$(PYTHON)' || { \
	  echo "make: Python 3.11 or newer is needed and none was found. Install it, or name it:" >&2; \
	  echo "make:   make PYTHON=/path/to/python3.12" >&2; \
	  exit 1; }
	@'$(PYTHON)' -c '$(NEW_ENOUGH)' || { \
	  echo "make: Python 3.11 or newer is needed; '$(PYTHON)' is not that." >&2; \
	  exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: '$(PYTHON)' comes without the modules ensurepip and venv, which make a virtual environment." >&2; \
	  '$(PYTHON)' -c '$(HOW_TO_GET_VENV)' >&2; \
	  echo "make: or name another Python: make PYTHON=/path/to/python3.12" >&2; \
	  exit 1; }
	@'$(PYTHON)' -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }
