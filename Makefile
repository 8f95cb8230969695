# make help lists the targets. Targets that need .venv make it first; nothing has to be installed by hand.
PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
WEIGHTS := $(VENV)/.weights-installed
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on --constraint constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-photos test check format train eval pretrain-nano notebooks bench soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## draw the synthetic data set, train on its image labels, evaluate, report
	$(BIN)/afa-data partshapes
	$(BIN)/afa-train experiment=demo $(ARGS)

demo-photos: $(WEIGHTS) ## train on photos of your own: make demo-photos root=FOLDER
	@test -n "$(root)" || { echo "need a folder of photos and labels, got none; run: make demo-photos root=FOLDER (docs/data.md)"; exit 1; }
	$(BIN)/afa-data folder root="$(root)"
	$(BIN)/afa-train experiment=photos data.root="$(root)" $(ARGS)

test: $(DEV) ## run the tests and the notebook
	$(PYTEST) --numprocesses auto --dist worksteal $(ARGS)

check: $(DEV) ## lint, format, types, import layers; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## format, and apply automatic fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train: $(RUNTIME) ## train: make train ARGS="experiment=voc12_mit_b1 data.root=..."
	$(BIN)/afa-train $(ARGS)

eval: $(RUNTIME) ## evaluate a checkpoint: make eval ARGS="checkpoint=..."
	$(BIN)/afa-eval $(ARGS)

pretrain-nano: $(RUNTIME) ## train the packaged backbone mit_nano again, on image labels of other classes
	$(BIN)/afa-data partshapes classes=parts root=datasets/partshapes_parts size=72 train=8000 val=200 seed=1000
	$(BIN)/afa-train experiment=pretrain_nano $(ARGS) callbacks.backbone.path=outputs/mit_nano_classes.safetensors
	$(BIN)/afa-data partshapes classes=pairs root=datasets/partshapes_pairs train=4000 val=200 seed=2000
	$(BIN)/afa-train experiment=pretrain_nano_affinity $(ARGS) model.pretrained=outputs/mit_nano_classes.safetensors \
		callbacks.backbone.path=src/afa_wsss/models/pretrained/mit_nano.safetensors

notebooks: $(DEV) ## run every notebook and store its outputs
	$(BIN)/pytest --nbmake --overwrite notebooks

bench: $(DEV) ## time each stage against its textbook form: make bench ARGS="--only PAR"
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(DEV) ## kill 20 runs at random times and compare them with runs never killed: make soak ARGS="--runs 4"
	$(BIN)/python -m benchmarks.soak $(ARGS)

clean: ## remove .venv, caches and builds; outputs/ and datasets/ stay
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- .venv: made once; packages are installed again only when pyproject.toml or constraints.txt change ---

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || { echo "need Python 3.11 or later, got no '$(PYTHON)'; install it or run: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "need Python 3.11 or later, got %d.%d (%s); run: make PYTHON=/path/to/python3.11" % (v[0], v[1], sys.executable))'
	@$(PYTHON) -c 'import ensurepip' 2> /dev/null || { echo "need Python's venv and ensurepip modules, got a $(PYTHON) without them; install them (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) --editable .
	@touch $@

$(WEIGHTS): $(RUNTIME)
	$(PIP_INSTALL) --editable '.[sample-weights]'
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $(RUNTIME) $@
