# make demo | test | check | e2e | bench: all there is to know. .ci/run calls the same.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check e2e bench docs clean

demo: $(READY) ## real traffic through a real broker, incidents and all; TRAFFIC=FILE replays a recording of yours
	@$(BIN)/tidegate demo $(if $(TRAFFIC),--traffic "$(TRAFFIC)") $(DEMO)

test: $(READY) ## everything but the long runs, on a real broker
	$(BIN)/pytest -m "not e2e"

e2e: $(READY) ## the long runs: whole recordings, killed workers
	$(BIN)/pytest -m e2e

check: $(READY) ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY) ## measures, an hour; no part of the tests. BENCH="quota path --repeats 3" chooses, BENCH=--help lists
	$(BIN)/python -m bench $(BENCH)

docs: $(READY) ## write again what is generated from the tables
	$(BIN)/tidegate topics doc --output docs/asyncapi.json
	$(BIN)/tidegate topics doc --output docs/topics.md
	$(BIN)/tidegate flow --format svg > docs/flow.svg

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) --version): 3.11 or newer is needed"; exit 1; }
	@echo "installing into $(VENV): about a minute the first time"
	@$(PYTHON) -m venv $(VENV) || { echo "python's venv module is missing (Debian: apt install python3-venv)"; exit 1; }
	@$(BIN)/pip install --disable-pip-version-check --quiet --require-hashes -r requirements.lock \
	  || { echo "the download failed: check the network (or your pip index settings) and type the same again"; exit 1; }
	@$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

clean: ## remove the environment and what runs have left
	rm -rf $(VENV) reports build *.egg-info
