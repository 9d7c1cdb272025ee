# The stable commands of the project; each one installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
# Files of tests, that is: the fixtures of a file are made once.
TWO_AT_A_TIME := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: setup demo test test-slow test-service lint docs clean

$(BIN)/uv:
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet uv

$(VENV)/.core: $(BIN)/uv pyproject.toml
	@echo "installing tirgen into $(VENV) (core: no torch)"
	@$(UV) -e .
	@touch $@

# pip, not uv, and torch alone and first: a machine may offer its CPU wheel only through pip's own settings.
$(VENV)/.dev: $(VENV)/.core
	@echo "installing the test and training tools"
	@$(BIN)/pip install --quiet torch==2.13.0
	@$(UV) -e '.[train,service,view,dev]'
	@touch $@

setup: $(VENV)/.core  ## the virtual environment with what the main job needs

demo: $(VENV)/.core  ## TIRGen on the embedded engine: problems in, verified dataset out
	@$(BIN)/tirgen demo

test: $(VENV)/.dev  ## the gate and the whole suite
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest -m "not slow and not gpu" $(TWO_AT_A_TIME) $(ARGS)

test-slow: $(VENV)/.dev  ## the checks that take minutes
	@$(BIN)/pytest -m slow $(ARGS)

test-service: $(VENV)/.dev  ## the service for real: server, worker, browser, kills
	@$(BIN)/pytest tests/service $(TWO_AT_A_TIME) $(ARGS)

lint: $(VENV)/.dev  ## ruff, mypy strict, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

docs: $(VENV)/.dev  ## the reference pages, written from the code
	@$(BIN)/python -m flows.reference docs

clean:
	rm -rf $(VENV)
