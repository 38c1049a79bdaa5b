# Everything runs in .venv, which is made when it is missing. PYTHON picks the interpreter: make PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
WORKERS ?= 2
BENCHMARKS := $(filter-out benchmarks/record.py,$(wildcard benchmarks/*.py))

.PHONY: install demo test lint type docs bench clean

install: $(INSTALLED)

# torch first and by version: any other torch on Linux may bring gigabytes of CUDA.
$(INSTALLED): pyproject.toml Makefile
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[train,demo,dev]'
	touch $@

demo: install
	$(BIN)/journeyman demo

# One thread for each process: two pools of threads on two cores wait for each other. WORKERS=0: one test at a time.
test: install
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check

type: install
	$(BIN)/mypy

docs: install
	$(BIN)/python -m pytest tests/test_docs.py

bench: install
	set -e; for each in $(BENCHMARKS); do echo "$$each"; $(BIN)/python $$each --quick; done

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
