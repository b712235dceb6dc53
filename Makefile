# Two commands matter: `make demo` and `make test`. Both set up everything they need in .venv.
PYTHON ?= python3
BIN := .venv/bin
TESTS ?= tests
.DEFAULT_GOAL := help
# Compiled once, every command starts in half the time.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help install demo test test-again test-claude-code check format bench chaos soak container-test lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 18

install: .venv/ready  ## make .venv from the hash-locked requirements

# uv is itself installed from the lock, by the pip that comes with Python; it then does the rest.
.venv/ready: requirements.lock pyproject.toml
	@echo "installing into .venv (once) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "agenthub needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv .venv
	@awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock > .venv/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: install  ## watch an organization of eleven agents work off a directive; needs no key
	@$(BIN)/agenthub demo

# Tests wait more than they compute: on two cores six at a time take less than three do.
test: install  ## the whole suite, against real servers and processes
	@$(BIN)/pytest -n 6 $(TESTS)

test-again: install  ## what failed in the last run, one test after the other
	@echo "these failed, and are run once more:"
	@$(BIN)/pytest --last-failed --last-failed-no-failures none --collect-only | grep '::'
	@$(BIN)/pytest --last-failed --last-failed-no-failures none -n 0 --maxfail 10

test-claude-code: .venv-claude-code/ready  ## what needs Claude Code (500 MB, in an environment of its own)
	@.venv-claude-code/bin/pytest -n 2 tests/sessions/test_contract.py tests/sessions/claude_code

# A second environment, so that nobody has to fetch Claude Code who does not work on its session.
.venv-claude-code/ready: requirements.lock requirements-claude-code.lock .venv/ready
	@echo "installing into .venv-claude-code (once) ..."
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-claude-code
	@VIRTUAL_ENV=.venv-claude-code $(BIN)/uv pip sync --quiet --require-hashes requirements.lock requirements-claude-code.lock
	@VIRTUAL_ENV=.venv-claude-code $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

check: install  ## formatter, linter, types, import floors
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: install  ## format and mend what the linter can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: install  ## performance against the raw floor and the field's peers, side by side, as ratios
	@$(BIN)/python -m bench

chaos: install  ## five minutes under faults, and whether every promise held; SEED=n repeats a plan
	@$(BIN)/python -m chaos $(if $(SEED),--seed $(SEED))

soak: install  ## a thousand messages through one role: memory, files, journal and cost stay flat, or it exits with 1
	@$(BIN)/python -m bench.soak $(if $(MESSAGES),--messages $(MESSAGES))

container-test: install  ## the image and the compose file on a real Docker engine; says plainly when there is none
	@$(BIN)/python -m deploy.container_test

lock: install  ## resolve the dependencies anew and lock them by hash
	@VIRTUAL_ENV=.venv $(BIN)/uv pip compile --quiet pyproject.toml --group dev --universal --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --python-version 3.11 --upgrade -o requirements.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip compile --quiet pyproject.toml --extra mcp --constraint requirements.lock \
		--universal --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 --upgrade \
		-o requirements-image.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip compile --quiet pyproject.toml --extra claude-code --constraint requirements.lock \
		--universal --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 --upgrade \
		-o requirements-claude-code.lock
	@$(BIN)/uv pip compile --quiet bench/peers/requirements.in --universal --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --python-version 3.11 --upgrade -o bench/peers/requirements.lock

clean:  ## remove .venv and caches; the organization's state in .agenthub stays
	@rm -rf .venv .venv-claude-code .pytest_cache .mypy_cache .ruff_cache .hypothesis
