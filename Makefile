# make demo: the main job on the embedded teacher.  make test: the offline tests.
# TORCH_PIP_ARGS: where another build of torch comes from, see README.md.

PYTHON ?= python3
TORCH_PIP_ARGS ?=
BIN := .venv/bin
STAMP := .venv/.ready

.PHONY: demo test test-llm check format bench bench-training docs lock clean

demo: $(STAMP)
	$(BIN)/evokd models pull qwen2.5-coder-1.5b-instruct all-MiniLM-L6-v2
	$(BIN)/evokd run examples/banking/task.yaml

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-llm: $(STAMP)
	$(BIN)/evokd models pull qwen2.5-coder-1.5b-instruct smollm2-135m-instruct all-MiniLM-L6-v2
	$(BIN)/python -m pytest -m local_llm

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy && $(BIN)/mypy benchmarks
	$(BIN)/lint-imports
	$(MAKE) test

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# SUITE=core, wide, ner, pool or reasoning; BENCH_ARGS="--data DIR", with --quick or --set trec: docs/benchmark.md.
SUITE ?= core
bench: .venv/.bench
	$(BIN)/evokd models pull qwen2.5-coder-1.5b-instruct all-MiniLM-L6-v2
	$(BIN)/evokd bench $(SUITE) $(BENCH_ARGS)

.venv/.bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	touch .venv/.bench

bench-training: $(STAMP)
	$(BIN)/evokd models pull all-MiniLM-L6-v2
	$(BIN)/python benchmarks/training_speed.py $(BENCH_ARGS)

# Torch first: with it installed, nothing else pulls in another build.
$(STAMP): constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH_PIP_ARGS) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

docs: $(STAMP)
	$(BIN)/evokd graph > docs/graph.mmd

# Write the pins anew from what is installed.
lock: .venv/.bench
	$(BIN)/python -m pip freeze --exclude-editable --exclude evokd | sed 's/+cpu$$//' | LC_ALL=C sort -f > constraints.txt

clean:
	rm -rf .venv build dist *.egg-info
