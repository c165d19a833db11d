# make run: everything, from the CSV files to the reports.  make ui: the same in the central scheduler.
# make test: every check.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
CHECKED := $(VENV)/.installed-dev
EXPLORES := $(VENV)/.installed-explore
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 \
    --generate-hashes --no-emit-index-url --no-emit-find-links --quiet
DRIVERS := --extra postgresql --extra mariadb

.PHONY: run ui explore servers sources test soak setup setup-dev bench bench-environment trials lock clean

run: sources
	$(BIN)/luigi --module tasks AllReports --local-scheduler

ui: sources # in the central scheduler, with its pages; ends with Ctrl-C
	@exec $(BIN)/python -m tasks ui

explore: $(EXPLORES) # the warehouse in a browser; ends with Ctrl-C
	@exec $(BIN)/python -m tasks explore

servers: setup-dev # throwaway PostgreSQL and MariaDB servers, empty; end with Ctrl-C
	@exec $(BIN)/python -m tests.servers

sources: setup # made up, if there is none
	@if ! $(BIN)/python -m tasks sources >/dev/null; then \
	    echo "take_home_data/ holds none of the seven CSV files: making sample data"; \
	    $(BIN)/luigi --module tasks SampleData --local-scheduler; fi

test: export PYTHONDONTWRITEBYTECODE = # Hundreds of runs need not compile the modules each.
test: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -n 3 --dist worksteal

soak: setup-dev # what takes longer than the tests may; the figures come at the end of each part
	$(BIN)/pytest -n 2 --dist worksteal -m soak
	MUTATIONS=100000 $(BIN)/pytest -n 2 --dist worksteal -m '' --hypothesis-profile=thorough tests/unit

setup: $(READY)

setup-dev: $(CHECKED) # what the checks need besides

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
	    echo "Python 3.11, 3.12 or 3.13 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	         "Name another: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(CHECKED): $(READY) requirements-dev.lock
	$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

$(EXPLORES): $(READY) requirements-explore.lock
	$(INSTALL) --require-hashes -r requirements-explore.lock
	@touch $@

bench: bench-environment # the pipeline against what a user would write instead; see docs/benchmarks.md
	.venv-bench/bin/python -m tests.benchmarks.bench

bench-environment:
	@test -x .venv-bench/bin/luigi || { $(PYTHON) -m venv .venv-bench && \
	    .venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock && \
	    .venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; }

trials: bench-environment # single choices, measured
	.venv-bench/bin/python -m tests.benchmarks.trials
	.venv-bench/bin/python -m tests.benchmarks.servers .bench/seed

lock: # needs uv; resolves pyproject.toml again: one set of versions for running and for the checks
	$(COMPILE) --extra build --extra dev $(DRIVERS) --extra spark -o requirements-dev.lock
	$(COMPILE) --extra build -c requirements-dev.lock -o requirements.lock
	$(COMPILE) --extra build --extra explore -c requirements-dev.lock -o requirements-explore.lock
	$(COMPILE) --extra build --extra dev $(DRIVERS) --extra bench -c requirements-dev.lock -o requirements-bench.lock

clean: # what the pipeline and the checks made; the CSV files and the environment stay
	rm -rf reports logs lake data_warehouse.db data_warehouse.db-wal data_warehouse.db-shm
	find staging -mindepth 1 ! -name .gitkeep -delete
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
