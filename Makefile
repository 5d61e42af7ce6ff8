# The two doors: `make demo` and `make test`. Each sets everything up by itself, once.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# The versions to install, for every Python from 3.10 on; tested in full on 3.11.
# `make demo LOCK=` installs the newest instead.
LOCK   ?= requirements/lock.txt

.PHONY: help demo test lint docs dist lock benchmark gpu-check clean

help:
	@echo "make demo       set up, then the whole chain on generated scenes -> runs/demo/report.html"
	@echo "make test       set up, then lint, types, import rules and every test"
	@echo "make docs       the documentation as a site -> build/site"
	@echo "make dist       wheel, the robot's wheel (the SDK alone) and source archive, checked -> dist"
	@echo "make lock       the versions that make demo installs -> requirements"
	@echo "make benchmark  latency of each precision and backend (pytest-benchmark)"
	@echo "make gpu-check  correctness, allocation, graph and timing on this machine's NVIDIA GPU (BUNDLE=X.bundle: its engines, too; GPU_CHECK_ARGS='--only NAME --limit SECONDS')"

# Redone only when the dependencies change: the stamp is newer than setup.cfg afterwards.
$(READY): setup.cfg pyproject.toml $(LOCK)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(if $(LOCK),--constraint $(LOCK)) --editable '.[dev]' || \
	    { test -n "$(LOCK)" && echo "$(LOCK): this index lacks some of it; taking what it has" >&2 && \
	      $(BIN)/python -m pip install --quiet --editable '.[dev]'; }
	touch $@

demo: $(READY)
	$(BIN)/trainer demo --out runs/demo

test: $(READY) lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy sdk/safetrip_sdk trainer/safetrip_trainer calibration/safetrip_calibration
	$(BIN)/lint-imports

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

dist: $(READY)
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python deploy/robot_wheel.py dist --quiet
	$(BIN)/twine check --strict dist/*

# uv resolves for Pythons that are not here; nothing else needs it, so it has an environment of its own.
lock:
	$(PYTHON) -m venv build/uv
	build/uv/bin/pip install --quiet uv
	build/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.10 --extra dev \
	    --no-annotate --no-header --output-file requirements/lock.txt setup.cfg

benchmark: $(READY)
	$(BIN)/python -m pytest benchmarks --benchmark-enable

# Runs where the GPU is, with whatever Python is there (no virtual environment is made).
gpu-check:
	$(PYTHON) benchmarks/gpu_check.py --json $${OUT:-runs}/gpu_check.json $(if $(BUNDLE),--bundle $(BUNDLE)) $(GPU_CHECK_ARGS)

clean:
	rm -rf $(VENV) runs build dist *.egg-info
