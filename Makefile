# `make` alone shows what there is. Every target first brings .venv up to date (milliseconds when it is).
SHELL := /bin/bash
PYTHON_VENV := .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench lock clean clean-venv hooks venv

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install everything the project needs into .venv (Python 3.11 or 3.12 is all it asks for)
	@scripts/setup.sh

venv:
	@scripts/setup.sh --quiet

demo: venv ## run one real avatar job end to end on this machine, with tiny weights
	@$(PYTHON_VENV) -m demo $(ARGS)

test: venv ## run lint and every test; ends with a table of what ran and what could not
	@$(PYTHON_VENV) scripts/test.py $(ARGS)

lint: venv ## ruff and pyright only
	@$(PYTHON_VENV) scripts/test.py --layer lint

format: venv ## let ruff put the code in order
	@$(PYTHON_VENV) -m ruff check --fix . && $(PYTHON_VENV) -m ruff format .

bench: venv ## measure what the README's figures say (bench/)
	@$(PYTHON_VENV) -m bench $(ARGS)

hooks: venv ## make git run the project's checks at commit and push
	@$(PYTHON_VENV) -m pre_commit install --hook-type pre-commit --hook-type pre-push

# UPGRADE=1 takes newer versions where the .in files allow them; without it the lock only follows the .in files.
lock: venv ## write requirements/*.txt anew from requirements/*.in
	@uv=$$(command -v uv || echo .venv/bin/uv); for name in run dev tools; do \
	  $$uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(if $(UPGRADE),--upgrade) \
	    --custom-compile-command 'make lock' requirements/$$name.in -o requirements/$$name.txt || exit 1; done

clean: ## remove what the demo, the tests and the tools left in the work tree
	@rm -rf work .pytest_cache .ruff_cache .hypothesis
	@find . -path ./.venv -prune -o -path ./.comfyui -prune -o -name __pycache__ -type d -print0 | xargs -0r rm -rf

clean-venv: clean ## also remove .venv
	@rm -rf .venv
