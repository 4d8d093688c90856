# Doors only. Variables: CORPUS=auto|cornell|chitchat|sample|PATH  RUN=name  NPROC=n  ARGS="more flags"  PYTHON=python3.x
PYTHON ?= python3
NPROC ?= 1
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help train chat evaluate export cpp prepare check format test test-fast docs-check bench tensorboard clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  variables: CORPUS=auto|cornell|chitchat|sample|PATH  RUN=name  NPROC=n  ARGS="..."  PYTHON=python3.x'
	@echo '  every flag: $(BIN)/chatbot VERB --help'

train: $(VENV)/.installed ## environment, corpus, preparation, training
	@$(BIN)/python -m chatbot train $(if $(filter-out 1,$(NPROC)),--processes $(NPROC)) $(if $(CORPUS),--corpus "$(CORPUS)") $(if $(RUN),--run "$(RUN)") $(ARGS)

chat: $(VENV)/.installed ## talk to the latest run (or RUN=name, or RUN=file)
	@$(BIN)/python -m chatbot chat $(if $(RUN),"$(RUN)") $(ARGS)

evaluate: $(VENV)/.installed ## score the latest run (or RUN=name) on the test split
	@$(BIN)/python -m chatbot evaluate $(if $(RUN),"$(RUN)") $(ARGS)

export: $(VENV)/.installed ## write the deployable file of the latest run (or RUN=name), and prove it
	@$(BIN)/python -m chatbot export $(if $(RUN),"$(RUN)") $(ARGS)

cpp: $(VENV)/.installed ## build the C++ client cpp/build/chatbot (cmake or a compiler alone)
	@$(MAKE) --no-print-directory -C cpp PYTHON="$(CURDIR)/$(BIN)/python" $(ARGS)
	@echo 'cpp/build/chatbot checkpoints/RUN/export/chatbot.pt answers line by line (docs/deployment.md)' >&2

prepare: $(VENV)/.installed ## read a corpus, print its figures
	@$(BIN)/python -m chatbot prepare $(if $(CORPUS),--corpus "$(CORPUS)") $(ARGS)

tensorboard: $(VENV)/.installed ## curves and sample replies of every run, in the browser
	@$(BIN)/tensorboard --logdir checkpoints $(ARGS)

check: $(VENV)/.developed ## format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(VENV)/.developed ## put every file into its format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

test: $(VENV)/.developed ## every test
	@$(BIN)/python -m pytest -n 2 $(ARGS)

test-fast: $(VENV)/.developed ## those that are not slow: under three minutes
	@$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

docs-check: $(VENV)/.developed ## run every command of the documentation, in a scratch copy: some minutes
	@$(BIN)/python docs/check.py $(ARGS)

bench: $(VENV)/.developed ## speed and memory, each beside the tutorial's way (CORPUS=folder of the Cornell files)
	@$(BIN)/python bench/preparation.py --sizes 500000 $(if $(CORPUS),--corpus "$(CORPUS)")
	@$(BIN)/python bench/training.py --rounds 20 $(if $(CORPUS),--corpus "$(CORPUS)")
	@$(BIN)/python bench/answering.py

clean: ## remove environment, builds, caches and prepared data; never a run or a downloaded corpus
	rm -rf $(VENV) build cpp/build dist *.egg-info data/prepared .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "chatbot needs Python 3.10 to 3.13; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@echo "installing into $(VENV) (the first time: a few minutes)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . >&2
	@touch $@

$(VENV)/.developed: $(VENV)/.installed
	@echo "installing the tools for tests and checks into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' >&2
	@touch $@
