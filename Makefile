# Everything a newcomer or CI runs. Needs make and Python >= 3.11; the rest goes into $(VENV).
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
# A further package index that offers CPU builds of torch, where the default index would bring CUDA ones.
TORCH_INDEX ?=
# The tested versions; `make CONSTRAINTS= test` takes the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check \
	$(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo figures test quick package-types fast-tests check lint format types imports runtime dev clean help
help:
	@echo "make demo     install finst and measure the built-in model: the paper's central result and a report"
	@echo "make test     all tests            make check    lint, format, types, import contracts"
	@echo "make quick    lint, contracts, types of the package and the fast tests, in about a minute"
	@echo "make format   let ruff rewrite     make clean    remove the virtual environment and caches"

demo: runtime
	$(BIN)/finst demo

# The pictures of docs/figures, from the demo's run folder and from three more.
STAGES := organism --grid 2x2 --trials 20 --objects fresh --entropy any
figures: demo
	$(BIN)/finst run rsa-stages $(STAGES) --out runs/stages
	$(BIN)/finst run photoreal organism --trials 96 --cma runs/demo --out runs/photoreal
	$(BIN)/finst run transfer organism --cma runs/demo --out runs/transfer
	$(BIN)/python docs/figures/draw.py runs/demo runs/stages runs/photoreal runs/transfer

# One thread a worker: torch's own threads would fight over the cores that the workers already fill.
test: dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS)

# The tests that import no torch, beside the types of the package alone: one core each.
QUICK := tests/analysis tests/test_prompts.py tests/test_prompt_templates.py \
	$(addprefix tests/scenes/test_,designs.py draw.py object.py own.py) \
	$(addprefix tests/runs/test_,archive.py factors.py spec.py store.py)
quick: lint imports
	$(MAKE) --no-print-directory --jobs 2 package-types fast-tests

package-types: dev
	$(BIN)/basedpyright src

fast-tests: dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet $(QUICK)

check: lint types imports

lint: dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: dev
	$(BIN)/basedpyright

imports: dev
	$(BIN)/lint-imports

format: dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

runtime: $(VENV)/.runtime
dev: $(VENV)/.dev

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"finst needs Python 3.11 or newer, and $(PYTHON) is %s: make PYTHON=/path/to/python" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.python pyproject.toml $(CONSTRAINTS)
	$(INSTALL) --editable .
	@touch $@

# Only pip >= 25.1 knows dependency groups.
$(VENV)/.dev: $(VENV)/.runtime
	$(INSTALL) --upgrade "pip>=25.1"
	$(INSTALL) --group dev
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
