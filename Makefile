# Everything runs from .venv, which the first target that needs it makes. PORT and OCELOT_HOME pass through
# (`make dev PORT=9000 OCELOT_HOME=/tmp/second`), and so do further arguments of pytest (`make test ARGS="-k cursor"`).
.DEFAULT_GOAL := help
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
WORKERS ?= 3
SECONDS ?= 180
OCELOT_LIVE ?= ../shared/live
# The oldest supported Python first: what runs there runs on all.
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command "make requirements"

.PHONY: setup dev dev-api dev-consumer test thorough test-live faults soak isolation attacks coverage bench lint format collections tryout docs requirements hooks clean help

setup: $(READY) ## install into .venv, and nothing else

$(READY): requirements/dev.txt pyproject.toml
	@set -e; \
	if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  python=$(PYTHON); \
	  for name in $(PYTHONS); do \
	    [ -n "$$python" ] && break; \
	    "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && python=$$name; \
	  done; \
	  [ -n "$$python" ] || { echo "Ocelot needs Python 3.11 or later; set PYTHON=/path/to/python" >&2; exit 1; }; \
	  echo "Making $(VENV) with $$("$$python" --version); this takes a minute, once"; \
	  rm -rf $(VENV); "$$python" -m venv $(VENV); \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

dev: $(READY) ## start all of Ocelot on the embedded stack; Ctrl-C stops it
	@$(BIN)/ocelot dev

dev-api: $(READY) ## the API alone, reloading, on the configured backends
	@$(BIN)/ocelot api --reload

dev-consumer: $(READY) ## the consumer alone, reloading, on the configured backends
	@$(BIN)/ocelot consumer --reload

test: $(READY) ## the tests, on the embedded stack, WORKERS (3) at a time: half of them wait for servers
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --ignore=tests/faults $(ARGS)

thorough: $(READY) ## all tests in their long form, properties with many more examples
	@HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest --timeout=3000 -m 'slow or not slow' $(ARGS)

test-live: $(READY) ## all tests, on the real servers of OCELOT_LIVE as well
	@OCELOT_LIVE="$(OCELOT_LIVE)" $(BIN)/python -m infra.local.live $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

faults: $(READY) ## the tests that kill, hang and stop everything (the long form: ARGS='-m "slow or not slow"')
	@$(BIN)/python -m pytest tests/faults -s $(ARGS)

soak: $(READY) ## a steady load for SECONDS (180): memory, descriptors, lag and answers stay as they are
	@OCELOT_SOAK_SECONDS=$(SECONDS) $(BIN)/python -m pytest tests/faults/test_soak.py -m slow -s --timeout=0 $(ARGS)

isolation: $(READY) ## one tenant against another, by every route
	@$(BIN)/python -m pytest tests/isolation $(ARGS)

attacks: $(READY) ## hostile input against the running service
	@$(BIN)/python -m pytest tests/attacks $(ARGS)

coverage: $(READY) ## branch coverage of core, api and consumer; fails under 90 %
	@$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered --cov-fail-under=90 $(ARGS)

bench: $(READY) ## measure speed and memory against the stated peers
	@$(BIN)/python -m benchmarks $(ARGS)

lint: $(READY) ## check style, types and who imports whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(READY) ## put the code into its style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

collections: $(READY) ## write the Postman collection and the .http file of docs/ from the API's description
	@$(BIN)/python -m infra.tryout write

tryout: $(READY) ## make every request of both files to the running stack of make dev
	@$(BIN)/python -m infra.tryout run

docs: $(READY) ## write .env.example and docs/settings.md from the settings
	@$(BIN)/python -m infra.settings_page

requirements: $(READY) ## pin the requirements of pyproject.toml again (newest: ARGS=--upgrade)
	@$(COMPILE) $(ARGS) pyproject.toml -o requirements/runtime.txt
	@$(COMPILE) $(ARGS) --extra dev --constraints requirements/runtime.txt pyproject.toml -o requirements/dev.txt

hooks: $(READY) ## run the checks before each commit
	@$(BIN)/pre-commit install

clean: ## remove .venv and all caches; the data in .ocelot stays
	@rm -rf $(VENV) build dist *.egg-info htmlcov .coverage .coverage.* .hypothesis .*_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
