.DEFAULT_GOAL := help
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

help:  ## list what you can type
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## the virtual environment (.venv), from requirements.lock

$(READY): export VIRTUAL_ENV := $(CURDIR)/$(VENV)
$(READY): requirements.lock
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, python3 is " + sys.version.split()[0])'
	python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)/bin/uv pip install --quiet --compile-bytecode -r requirements.lock  # imported by dozens of processes
	@touch $@

repro: $(READY)  ## everything params.yaml asks for, from data to report; of another file: params=params/cifar10.yaml
	@python -m pipeline.repro $(if $(params),--params $(params)) $(options)

plan: $(READY)  ## what that would cost, before anything runs: images, steps, disk, hours
	@python -m pipeline.plan $(if $(params),--params $(params))

walk: $(READY)  ## two steps of everything that params.yaml would train, before hours are spent on it
	@python -m pipeline.walk

test: $(READY)  ## the tests, without network or GPU
	@OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

test-faults: $(READY)  ## the long versions: every kill, cut and garbled file that the project claims to survive
	@python -m pytest -m faults

test-gpu: $(READY)  ## the tests that need a GPU; without one each says that it was skipped
	@python -m pytest -m gpu -rs tests/models/test_gpu.py

lint: $(READY)  ## ruff, mypy, and which room may import which
	@ruff check . && ruff format --check . && lint-imports --no-cache --no-logo && mypy

ui: $(READY)  ## compare runs in the browser (MLflow on loopback, port 5000 or PORT=)
	@python -m pipeline.ui $(if $(PORT),--port $(PORT))

pull: $(READY)  ## the results that somebody published with `dvc push`, without training anything
	@python -m pipeline.pull

bench: $(READY)  ## benchmarks beside their peers, into docs/performance.md; a part: only=operators
	@python -m benchmarks $(only)

pictures: $(READY)  ## the pictures of docs/pictures/, anew of the published report and of results/ (Chromium takes them)
	@python -m tests.pictures

lock: $(READY)  ## pin what pyproject.toml adds; with upgrade=--upgrade pin everything anew
	uv pip compile --quiet --universal --python-version 3.11 --extra dev --extra export --no-emit-index-url --custom-compile-command "make lock" $(upgrade) pyproject.toml -o requirements.lock

clean:  ## remove scratch state: unfinished and finished runs, ad-hoc results (what DVC tracks stays)
	rm -rf runs adhoc data/raw/synthetic

.PHONY: help setup repro plan walk test test-faults test-gpu lint ui pull bench pictures lock clean
