# Two commands for newcomers: `make demo` and `make test`. Both make .venv themselves, and only when something changed.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test check docs bench clean

# The main job on real images: 400 labelled solar cells, the other 1,568 training cells as the pile, 2 MB for the model.
demo: .venv/.demo
	$(BIN)/eyas fit elpv --labels 400 --budget "size<=2MB" --arch efficientnet_lite0@112 --training.min_steps 110 --distillation.epochs 4 --out runs/demo

# One thread a process and a process a core: small networks gain nothing from more.
test: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check src
	$(BIN)/python -m pytest -q tests/test_layers.py
	$(BIN)/mkdocs build --strict --quiet

docs: .venv/.dev
	$(BIN)/python docs/architectures.py
	$(BIN)/mkdocs serve

bench: .venv/.dev
	for script in benchmarks/*.py; do $(BIN)/python $$script --out benchmarks/results || exit 1; done

clean:
	rm -rf .venv build dist site runs .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp a set of extras: newer than what it was made from means that there is nothing to install.
.venv/.%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@
