# Everything here runs from a fresh clone; `make` alone lists it. REELGOODS_PYTHON=INTERPRETER uses an environment of your own.
PYTHON_IN_USE = $(or $(REELGOODS_PYTHON),.venv/bin/python)
export PYTHONSAFEPATH = 1
# Where bytecode may not be kept, each process compiles torch and transformers anew: seconds a start.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

.DEFAULT_GOAL := help
.PHONY: help setup demo test check test-browser test-multinode clean

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 16

setup: ## choose torch and FAISS builds for this machine and install them into .venv
	bash launch/setup.sh

demo: ## write a sample corpus, train on it, evaluate both ways, compare with the baselines
	bash launch/demo.sh

test: ## set up .venv, then check
	bash launch/setup.sh --if-stale
	$(MAKE) --no-print-directory check

# One process more than there are cores, since many tests wait for processes that they started.
TEST_PROCESSES = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

check: ## ruff, mypy, pytest (all but the browser test and the one of several nodes)
	$(PYTHON_IN_USE) -m ruff check .
	$(PYTHON_IN_USE) -m mypy
	$(PYTHON_IN_USE) -m pytest -m "not browser and not multinode" -n $(TEST_PROCESSES) --maxprocesses 8 --dist loadgroup --no-loadscope-reorder

test-browser: ## open the report and the page that searches by hand in a headless Chromium (installed where it may be)
	bash launch/setup.sh --if-stale
	bash launch/browser.sh
	$(PYTHON_IN_USE) -m pytest -m browser

test-multinode: ## train, embed and search across two network namespaces, cut one off in between (root on Linux; minutes)
	bash launch/setup.sh --if-stale
	$(PYTHON_IN_USE) -m pytest -m multinode -rs tests/multinode

clean: ## remove caches and what the demo wrote; .venv and other runs stay
	rm -rf runs/demo .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
