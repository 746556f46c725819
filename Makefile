# `make` or `make help` lists what there is. Needs make, git and Python 3.10 or newer; what else is missing it installs into
# .venv, as root also from Debian's packages.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

PYTHON_VENV := .venv/bin/python
INSTALLED := .venv/.installed
INSTALLED_DOCS := .venv/.installed-docs
INSTALLED_PINS := .venv/.installed-pins
PINNED := pyproject.toml constraints.txt tools/venv

# More arguments for the program that a target runs: make test ARGS="-k lease"
ARGS ?=
# ORDERS, N, JSON, KEEP and STOCK reach the demo, and FAULTS, SEED, BROKERS and ONLY the fault matrix, in their environment, where
# make puts what its command line sets.

.PHONY: help venv services services-stop demo test faults check format bench docs pins clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | expand -t 18

venv: $(INSTALLED) ## make .venv with everything pinned in constraints.txt (PYTHON= names the interpreter)
	@:

$(INSTALLED): $(PINNED)
	@tools/venv build test lint shop
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	@tools/venv docs
	@touch $@

$(INSTALLED_PINS): $(INSTALLED)
	@tools/venv pins
	@touch $@

services: $(INSTALLED) ## start the servers that tests and benchmarks need, unless they run already
	@$(PYTHON_VENV) -m tools.services start

services-stop: ## stop the servers that `make services` started
	@if [ -x $(PYTHON_VENV) ]; then $(PYTHON_VENV) -m tools.services stop; fi

demo: $(INSTALLED) $(if $(STOCK),services) ## run the shop, kill a worker half way, count what was lost (ORDERS= N= JSON= KEEP=1 STOCK=1)
	@$(PYTHON_VENV) -m examples.demo $(ARGS)

test: services ## run every test (ARGS="-k lease")
	@$(PYTHON_VENV) -m pytest --numprocesses=auto --dist=worksteal $(ARGS)

faults: services ## run the fault matrix and print it (FAULTS=short|full SEED= BROKERS=sqlite,postgresql ONLY=SIGKILL)
	@$(PYTHON_VENV) -m tests.faults $(ARGS)

check: $(INSTALLED) ## run the linters: ruff, mypy, import-linter, hygiene
	@tools/check

format: $(INSTALLED) ## format the code and apply ruff's safe fixes
	@.venv/bin/ruff format --quiet . && .venv/bin/ruff check --quiet --fix .

bench: services ## measure against stock Celery on Redis
	@$(PYTHON_VENV) -m benchmarks $(ARGS)

docs: $(INSTALLED_DOCS) ## build the documentation into site/
	@.venv/bin/zensical build --clean --strict

pins: $(INSTALLED_PINS) ## write constraints.txt anew with the newest versions that fit together
	@tools/pins

clean: services-stop ## remove what make made: .venv, site, caches
	@rm -rf .venv .services site .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
