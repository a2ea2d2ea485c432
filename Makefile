# A machine with only Python and make: `make demo` or `make test` set up everything in .venv.
PYTHON ?= python3
BIN := .venv/bin

CLUSTER := JEPAKIT_CLUSTER=required
BROWSER := JEPAKIT_BROWSER=required
# A process per core. What shares fixtures stays together, see tests/conftest.py.
PYTEST := $(BIN)/python -m pytest -q
PARALLEL := -n logical --maxprocesses=8 --dist loadscope --no-loadscope-reorder

.PHONY: help demo test test-all test-gpu test-cluster test-browser check format bench tree lock clean

help:            ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## */\t/' | expand -t 12

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or newer is needed: make PYTHON=python3.12')"
	@echo "Setting up .venv: PyTorch and all else, about 7 GB; minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --progress-bar off -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch .venv/ready

demo: .venv/ready   ## pretrain on built-in scenes, evaluate, write a page: minutes
	$(BIN)/jepa demo

test: .venv/ready   ## the tests
	$(PYTEST) $(PARALLEL) -m "not slow and not gpu"

test-all: .venv/ready   ## the slow tests too: kills and resumes a run 20 times
	$(PYTEST) $(PARALLEL)

test-gpu: .venv/ready  ## what needs a CUDA device; without types at run time, which torch.compile cannot trace
	$(PYTEST) -m gpu -o addopts="-ra --strict-markers --import-mode=importlib" -o filterwarnings=default

test-cluster: .venv/ready   ## on a two-node SLURM on this machine (installs it: Debian, root): minutes
	sh scripts/install_slurm.sh
	$(CLUSTER) $(PYTEST) tests/cluster

test-browser: .venv/ready   ## the studio in a headless Chromium (installs it: Debian, root): a minute
	sh scripts/install_browser.sh
	$(BROWSER) $(PYTEST) tests/browser

check: .venv/ready  ## style, types, and the README's tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/readme_tree.py --check
	$(BIN)/python scripts/settings_table.py --check
	$(BIN)/python scripts/results_tables.py --check

format: .venv/ready ## format the code and renew the README's tree
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python scripts/readme_tree.py
	$(BIN)/python scripts/settings_table.py
	$(BIN)/python scripts/results_tables.py

bench: .venv/ready  ## speed on this machine
	$(BIN)/jepa bench masks
	$(BIN)/jepa bench step encoder.size=vit_base batch.size=16

lock: .venv/ready   ## renew requirements.lock
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.10 --extra dev --extra slurm --extra tiff \
	  --no-header --no-annotate pyproject.toml -o requirements.lock

clean:           ## remove what was set up
	rm -rf .venv
