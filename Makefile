# make demo   set up, fine-tune on real tweets, show before and after, open the app
# make test   set up and run every test, a real browser included
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL ?= runs/demo/artifact
export OMP_WAIT_POLICY ?= PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo install app test js check bench browser wrk clean help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile
	@echo "also: make install | app | check | bench | clean"

demo: install
	@$(BIN)/python -m training train quick --run-dir runs/demo --reuse
	@$(MAKE) --no-print-directory app

install: $(VENV)/installed

$(VENV)/installed: requirements.txt requirements-embedded.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 15) else f"TweetTune needs Python 3.11 to 3.14, found {v.major}.{v.minor}. Run: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@echo "Installing into $(VENV): one to five minutes, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet -r requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps -r requirements-embedded.txt
	@touch $@

app: install
	@$(BIN)/python app.py $(if $(wildcard $(MODEL)),--model $(MODEL))

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	@$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		{ echo "Installing Chromium for the browser tests."; \
		  SUDO=$$(test $$(id -u) = 0 || echo sudo); \
		  $$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq --no-install-recommends chromium >/dev/null; }

wrk:
	@command -v wrk >/dev/null || \
		{ echo "Installing wrk, the load generator of the benchmarks."; \
		  SUDO=$$(test $$(id -u) = 0 || echo sudo); \
		  $$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq --no-install-recommends wrk >/dev/null; }

check: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

test: check browser
	@$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 25

# The card's snippet in transformers.js, in Node; takes 500 MB from npm, so it is no part of `make test`.
js: $(VENV)/installed-dev
	@npm install --prefix .cache/js --no-save --ignore-scripts --no-audit --no-fund --silent @huggingface/transformers@4.3.1
	@NODE_MODULES=$(CURDIR)/.cache/js/node_modules $(BIN)/pytest tests/inference/export/test_standard.py -k transformers_js

bench: $(VENV)/installed-dev wrk
	@$(BIN)/python -m benchmarks

clean:
	@rm -rf $(VENV) .cache runs/demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Undone. Your own runs, in runs/, are still there."
