# Doors only. Variables: CORPUS=auto|cornell|chitchat|sample|PATH|cornell+PATH*2  RUN=name  FROM=run  NPROC=n  ARGS="more flags"  PYTHON=python3.x
PYTHON ?= python3
NPROC ?= 1
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help train chat serve evaluate export web cpp prepare check check-page format test test-fast fuzz docs docs-check bench bench-gpu bench-quality tensorboard clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  variables: CORPUS=auto|cornell|chitchat|sample|PATH|cornell+PATH*2  RUN=name  FROM=pretrained|RUN|FILE  NPROC=n  ARGS="..."  PYTHON=python3.x'
	@echo '  flags: $(BIN)/chatbot VERB --help, and every flag: --help-all'

train: $(VENV)/.installed ## environment, corpus, preparation, training; FROM=pretrained CORPUS=PATH trains that bot on
	@$(BIN)/python -m chatbot train $(if $(filter-out 1,$(NPROC)),--processes $(NPROC)) $(if $(CORPUS),--corpus "$(CORPUS)") $(if $(RUN),--run "$(RUN)") $(if $(FROM),--from "$(FROM)") $(ARGS)

chat: $(VENV)/.installed ## talk to the latest run (or RUN=name, or RUN=file)
	@$(BIN)/python -m chatbot chat $(if $(RUN),"$(RUN)") $(ARGS)

serve: $(VENV)/.installed ## the same in a browser, and for programs: a page and an API as OpenAI's at localhost:8000
	@$(BIN)/python -c 'import starlette, uvicorn' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[serve]' >&2
	@$(BIN)/python -m chatbot serve $(if $(RUN),"$(RUN)") $(ARGS)

evaluate: $(VENV)/.installed ## score the latest run (or RUN=name) on the test split
	@$(BIN)/python -m chatbot evaluate $(if $(RUN),"$(RUN)") $(ARGS)

export: $(VENV)/.installed ## write the deployable file of the latest run (or RUN=name), and prove it
	@$(BIN)/python -m chatbot export $(if $(RUN),"$(RUN)") $(ARGS)

web: $(VENV)/.installed ## a page that answers in the visitor's browser, without a server, as a folder of static files (RUN=name)
	@$(BIN)/python -c 'import onnx, onnxruntime' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[onnx]' >&2
	@$(BIN)/python -m chatbot export --web $(if $(RUN),"$(RUN)") $(ARGS)

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
	@$(MAKE) --no-print-directory check-page

check-page: # the page's JavaScript, where npm is: eslint and tsc, from tests/web
	@if ! command -v npm >/dev/null; then echo "npm is not installed: the page's JavaScript was not checked" >&2; \
	elif ! $(MAKE) --no-print-directory tests/web/node_modules/.installed; then echo "npm fetched nothing: the page's JavaScript was not checked" >&2; \
	else npm --prefix tests/web run --silent lint && npm --prefix tests/web run --silent types; fi

tests/web/node_modules/.installed: tests/web/package-lock.json
	@echo "fetching what checks the page's JavaScript, and onnxruntime-web for its tests, into tests/web/node_modules" >&2
	@npm ci --prefix tests/web --ignore-scripts --silent >&2
	@touch $@

format: $(VENV)/.developed ## put every file into its format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

test: $(VENV)/.developed ## every test
	@$(BIN)/python -m pytest -n 2 $(ARGS)

test-fast: $(VENV)/.developed ## those that are not slow: three minutes
	@$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

docs-check: $(VENV)/.developed ## run every command of the documentation, in a scratch copy: some minutes
	@$(BIN)/python docs/check.py $(ARGS)

docs: $(VENV)/.developed ## build the pages as a site, in build/site
	@$(BIN)/python docs/site.py

fuzz: $(VENV)/.developed ## damaged input for every reader of files: 1,000 inputs a target, minutes (ARGS="-k checkpoint")
	@CHATBOT_FUZZ=$${CHATBOT_FUZZ:-1000} $(BIN)/python -m pytest -n 0 tests/test_fuzz.py tests/test_wrong_files.py $(ARGS)

bench: $(VENV)/.developed ## speed and memory of everything beside the tutorial's way, one table (CORPUS=folder of Cornell, RUN=folder)
	@$(BIN)/python bench $(if $(CORPUS),--corpus "$(CORPUS)") $(if $(RUN),--run "$(RUN)") $(ARGS)

bench-gpu: $(VENV)/.developed ## is a GPU right, how fast is it, what does it learn: four minutes; in miniature without one (CORPUS=folder of Cornell)
	@$(BIN)/python bench/gpu.py $(if $(CORPUS),--corpus "$(CORPUS)") $(ARGS)

bench-quality: $(VENV)/.developed ## hours: held-out perplexity over time of the tutorial's recipe and ours, and its picture
	@$(BIN)/python bench/quality.py tutorial --steps 2500 $(if $(CORPUS),--corpus "$(CORPUS)") --out bench/results/quality-tutorial.json
	@$(BIN)/python bench/quality.py ours $(if $(CORPUS),--corpus "$(CORPUS)") --out bench/results/quality-ours.json --set training.validate_every=100 training.patience=0 training.max_minutes=0 $(ARGS)
	@$(BIN)/python bench/quality.py compare bench/results/quality-tutorial.json bench/results/quality-ours.json --step-cost 0.365
	@$(BIN)/python bench/quality.py draw bench/results/quality-tutorial.json bench/results/quality-ours.json --out docs/pictures/quality.png --step-cost 0.365

clean: ## remove environment, builds, caches and prepared data; never a run or a downloaded corpus
	rm -rf $(VENV) tests/web/node_modules build cpp/build dist *.egg-info data/prepared .pytest_cache .mypy_cache .ruff_cache .hypothesis
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
