# Everything runs from .venv, which the first target that needs it makes. PORT and OCELOT_HOME pass through
# (`make dev PORT=9000 OCELOT_HOME=/tmp/second`), and so do further arguments of pytest (`make test ARGS="-k cursor"`).
.DEFAULT_GOAL := help
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SITE_VENV := .venv-docs
SITE_READY := $(SITE_VENV)/.ready
AWS_VENV := .venv-aws
AWS_READY := $(AWS_VENV)/.ready
ARGS ?=
WORKERS ?= 3
SECONDS ?= 180
OCELOT_LIVE ?= ../shared/live
# Suites with targets of their own; with them `make test` would take three times as long.
PROOFS := tests/faults tests/isolation tests/attacks
# The oldest supported Python first: what runs there runs on all.
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command "make requirements"

# make deploy goes by the commit.
IMAGE_TAG ?= $(if $(filter deploy,$(MAKECMDGOALS)),$(shell git rev-parse HEAD),local)
PROFILES ?=
INFRA := .venv-infra
INFRA_READY := $(INFRA)/.ready
COMPOSE = docker compose $(foreach profile,$(PROFILES),--profile $(profile))
# Both images say which commit they are made of.
define build
docker build --file Dockerfile.$(1) --tag ocelot-log-$(1):$(IMAGE_TAG) \
	--build-arg REVISION="$$(git rev-parse HEAD)" --build-arg CREATED="$$(date -u +%Y-%m-%dT%H:%M:%SZ)" .
endef
# As they run everywhere: nothing can be written but a temporary folder and OCELOT_HOME, and no right is held.
define run
[ -f .env ] || { echo "make docker-run-$(1): no .env; copy .env.example and fill in what is required" >&2; exit 1; }; \
	docker run --rm --interactive --init --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
	--env-file .env --env OCELOT_HOME=/var/lib/ocelot --volume ocelot-home:/var/lib/ocelot \
	--add-host host.docker.internal:host-gateway --publish 127.0.0.1:$(2):$(2) --stop-timeout 40 ocelot-log-$(1):$(IMAGE_TAG)
endef

.PHONY: setup dev dev-api dev-consumer test thorough test-live faults soak isolation attacks described mutants audit sbom licences coverage bench lint format collections tryout docs infra-aws requirements hooks docker-build-api docker-build-consumer docker-build-all docker-run-api docker-run-consumer up down deploy infra-check site clean help

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

test: $(READY) ## the tests, on the embedded stack, WORKERS (3) at a time: half of them wait for servers (proofs: below)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PROOFS:%=--ignore=%) $(ARGS)

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

described: $(READY) ## many requests from the API's description, good and bad, every answer checked (20 minutes)
	@$(BIN)/python -m pytest tests/attacks/test_description.py -m slow $(ARGS)

mutants: $(READY) ## take each guard away in a copy of the tree, and see its test fail (docs/mutants.md; some: ARGS=word)
	@WORKERS=$(WORKERS) $(BIN)/python -m tests.mutants $(ARGS)

audit: $(READY) sbom ## what a deployment imports (build/sbom.cdx.json, for any scanner), and bandit over the code
	@$(BIN)/bandit -q -ll -c pyproject.toml -r api cli consumer core infra -x api/static

sbom: $(READY) ## write the list of what a deployment imports, as CycloneDX 1.6, to build/
	@$(BIN)/python -m infra.supply sbom

licences: $(READY) ## write docs/licences.md
	@$(BIN)/python -m infra.supply licences

coverage: $(READY) ## branch coverage of core, api and consumer by `make test`; fails under 90 %
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PROOFS:%=--ignore=%) --cov --cov-report=term-missing:skip-covered --cov-fail-under=90 $(ARGS)

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

docs: $(READY) ## write .env.example, docs/settings.md, each place's settings, and the task definitions and costs of AWS
	@$(BIN)/python -m infra.settings_page
	@$(BIN)/python -m infra.aws.costs

# The CDK is large, and runs Node.js (22 or later; 20 with a warning): an environment of its own, made when first asked for.
$(AWS_READY): requirements/aws.txt $(READY)
	@$(BIN)/python -m venv $(AWS_VENV)
	@$(AWS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r $<
	@touch $@

infra-aws: $(AWS_READY) ## synthesize and check the infrastructure on AWS, offline
	@command -v node >/dev/null || { echo "the CDK needs Node.js" >&2; exit 1; }
	@JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=1 $(AWS_VENV)/bin/python -m pytest -c infra/aws/pytest.ini --rootdir . infra/aws/tests $(ARGS)

requirements: $(READY) ## pin the requirements of pyproject.toml again (newest: ARGS=--upgrade)
	@$(COMPILE) $(ARGS) --extra otel pyproject.toml -o requirements/runtime.txt
	@$(COMPILE) $(ARGS) requirements/aws.in -o requirements/aws.txt
	@$(COMPILE) $(ARGS) requirements/docs.in -o requirements/docs.txt
	@$(COMPILE) $(ARGS) --extra dev --constraints requirements/runtime.txt pyproject.toml -o requirements/dev.txt
	@$(COMPILE) $(ARGS) --constraints requirements/dev.txt requirements/build.in -o requirements/build.txt
	@$(COMPILE) $(ARGS) --constraints requirements/dev.txt requirements/infra.in -o requirements/infra.txt

hooks: $(READY) ## run the checks before each commit
	@$(BIN)/pre-commit install

docker-build-api: ## build the image of the API
	@$(call build,api)

docker-build-consumer: ## build the image of the consumer
	@$(call build,consumer)

docker-build-all: docker-build-api docker-build-consumer ## build both images

docker-run-api: ## run the API's image with the settings of .env
	@$(call run,api,8000)

docker-run-consumer: ## run the consumer's image with the settings of .env
	@$(call run,consumer,8001)

up: ## Ocelot and real servers in containers: http://localhost:8000 (PROFILES=monitoring: Grafana on 3000)
	@$(COMPOSE) up --build --detach --wait

down: ## stop the containers of make up; the data stays (ARGS=--volumes removes it)
	@$(COMPOSE) --profile '*' down $(ARGS)

deploy: $(READY) docker-build-all ## build, push, migrate, deploy and smoke-test this commit, as the pipeline does; back if anything fails
	@IMAGE_TAG=$(IMAGE_TAG) $(BIN)/python -m infra.deploy push
	@IMAGE_TAG=$(IMAGE_TAG) $(BIN)/python -m infra.deploy release

# Tools for checks alone, in a place of their own: some programs, and libraries that the service never imports.
$(INFRA_READY): requirements/infra.txt requirements/build.txt requirements/runtime.txt infra/checks/install.py $(wildcard infra/tools/*/go.*) | $(READY)
	@echo "Making $(INFRA): the tools of the checks; this takes some minutes, once"
	@[ -x $(INFRA)/bin/python ] || $(BIN)/python -m venv $(INFRA)
	@$(INFRA)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/infra.txt
	@$(INFRA)/bin/python -m infra.checks.install
	@touch $@

infra-check: $(INFRA_READY) ## check images, compose, Kubernetes, alerts, pipelines and AWS, offline (one of them: ARGS=compose)
	@$(INFRA)/bin/python -m infra.checks $(ARGS)
	@[ -n "$(ARGS)" ] || $(MAKE) infra-aws

$(SITE_READY): requirements/docs.txt $(READY)
	@$(BIN)/python -m venv $(SITE_VENV)
	@$(SITE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

site: $(SITE_READY) ## build the documentation's site into build/site; a link that leads nowhere fails
	@NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/mkdocs build --strict $(ARGS)

clean: ## remove .venv and all caches; the data in .ocelot stays
	@rm -rf $(VENV) $(SITE_VENV) $(AWS_VENV) $(INFRA) cdk.out build dist *.egg-info htmlcov .coverage .coverage.* .hypothesis .*_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-21s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
