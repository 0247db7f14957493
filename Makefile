# Everything a newcomer needs: make demo, make test, make serve.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# Each process of the tests has its own databases and servers.
PROCESSES ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo serve test lint setup fuzz clean

help:  ## show these targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch first and alone: its CPU build satisfies the pin, so the second line brings no CUDA packages.
$(VENV)/.installed: pyproject.toml deploy/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --constraint deploy/constraints.txt --editable '.[dev,redis]'
	touch $@

setup: $(VENV)/.installed  ## install into .venv

demo: setup  ## send ECGs through the whole product, print what came out, write it to var/demo
	$(BIN)/hisbundle demo --to var/demo

serve: setup  ## run listeners and a worker in the foreground (SQLite, no server to install)
	$(BIN)/hisbundle serve

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint  ## lint, types, import directions, migrations, all tests
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile

fuzz: setup  ## feed the HL7 listener twelve million mutated bytes (Linux, some minutes)
	$(BIN)/pip install --quiet atheris==3.0.0
	PYTHONPATH=. $(BIN)/python tests/fuzz/fuzz_mllp.py

clean:  ## remove what make made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
