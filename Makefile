# SPDX-License-Identifier: Apache-2.0
# The two commands of the README are `make quickstart` and `make test`; the others are their parts.
SHELL := /bin/bash
VENV ?= .venv
PY := $(VENV)/bin/python
FILTER ?= .
export OMP_NUM_THREADS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup build quickstart test test-cpp test-python test-full lint format sanitize aarch64 cuda wheel docs bench stubs clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## virtual environment, system packages, torch
	@scripts/setup

build: setup ## compile what changed; the package is then importable in the environment
	@scripts/build

quickstart: build ## the main job: digits, float / PTQ / QAT, export, ONNX Runtime
	@$(PY) examples/quickstart.py

test: build lint test-cpp test-python ## everything that must be green: linters, C++ and Python tests

test-cpp: build
	@ctest --test-dir build/dev --output-on-failure --no-tests=error -j2 --quiet

test-python: build
	@$(PY) -m pytest -q -m "not full"

test-full: build ## `make test` and the long tests
	@$(MAKE) --no-print-directory lint test-cpp
	@$(PY) -m pytest -q

lint: setup ## ruff, mypy, clang-format, codespell
	@scripts/lint

format: setup ## rewrite the sources in the project's style
	@$(VENV)/bin/ruff format -q . && $(VENV)/bin/ruff check -q --fix . && git ls-files -co --exclude-standard '*.h' '*.cpp' '*.cu' '*.cuh' | xargs $(VENV)/bin/clang-format -i

sanitize: setup ## C++ tests under the address and undefined-behaviour sanitizers
	@cmake --preset sanitize > build/sanitize.log && cmake --build --preset sanitize && ctest --preset sanitize --quiet

aarch64: setup ## C++ core for 64-bit Arm, its tests under emulation
	@scripts/aarch64

cuda: setup ## compile and link the CUDA library (no GPU needed)
	@scripts/cuda

wheel: setup ## release wheel in dist/, repaired and checked in an empty environment
	@scripts/wheel

docs: build ## API reference and guides in docs/_build/html
	@scripts/docs

bench: setup ## kernels against memcpy and ReLU (Google Benchmark; FILTER='fake_quantize/v4' chooses)
	@cmake --preset bench > build/bench.log && cmake --build --preset bench && \
	  build/bench/tests/bench/cpp/edgeqat_bench --benchmark_enable_random_interleaving=true \
	  --benchmark_repetitions=5 --benchmark_min_time=0.02 --benchmark_report_aggregates_only=true \
	  --benchmark_filter='$(FILTER)' $(ARGS)

stubs: build ## regenerate python/edgeqat/_C.pyi
	@scripts/stubs

clean: ## remove build products (not the virtual environment)
	@rm -rf build dist docs/_build
