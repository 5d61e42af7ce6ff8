# The two doors: `make demo` and `make test`. Each sets everything up by itself, once.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help demo test lint benchmark gpu-check clean

help:
	@echo "make demo       set up, then the whole chain on generated scenes -> runs/demo/report.html"
	@echo "make test       set up, then lint, types, import rules and every test"
	@echo "make benchmark  latency of each precision and backend (pytest-benchmark)"
	@echo "make gpu-check  correctness, allocation, graph and timing on this machine's NVIDIA GPU"

# Redone only when the dependencies change: the stamp is newer than setup.cfg afterwards.
$(READY): setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
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

benchmark: $(READY)
	$(BIN)/python -m pytest benchmarks --benchmark-enable

# Runs where the GPU is, with whatever Python is there (no virtual environment is made).
gpu-check:
	$(PYTHON) benchmarks/gpu_check.py --json $${OUT:-runs}/gpu_check.json

clean:
	rm -rf $(VENV) runs build dist *.egg-info
