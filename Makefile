# demo   ask a small dataset of the embedded model and show the result
# test   the test suite
# lab    the notebooks in JupyterLab
# bench  the benchmarks, each printing its table
# check  style, types and the notebooks, as CI runs them
#
# Each does its own set-up in .venv from Python 3.11 or newer; a set-up cut short is taken up again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# many tests wait for something: two processors have room for three
AT_ONCE := --numprocesses 3 --dist loadfile
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))

.PHONY: demo test lab bench check check-lowest browser-tools notebooks clean
.DELETE_ON_ERROR:

demo: $(VENV)/.ready-local
	@$(BIN)/evalkit demo

test: $(VENV)/.ready-dev
	@$(BIN)/python -m pytest $(AT_ONCE)

lab: $(VENV)/.ready-notebooks
	@$(BIN)/jupyter lab notebooks

bench: $(VENV)/.ready-dev
	@for bench in tests/benchmarks/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

check: $(VENV)/.ready-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory notebooks

notebooks: $(VENV)/.ready-dev
	@$(BIN)/python -m pytest --nbval --nbval-cell-timeout=120 --timeout=300 -p no:cacheprovider $(NOTEBOOKS)

# The oldest dependencies that pyproject.toml allows, in an environment of their own. Old versions warn about each other.
check-lowest: $(VENV)/.ready-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv venv --quiet --seed --clear $(VENV)-lowest
	@$(BIN)/uv pip install --quiet --python $(VENV)-lowest --resolution lowest-direct -e '.[dev]'
	@$(VENV)-lowest/bin/python -m pytest $(AT_ONCE) -q -W default \
	  --ignore tests/test_modelfile.py --ignore tests/test_local.py \
	  --ignore tests/test_jupyterlab.py --ignore tests/test_report_browser.py

# What tests pages for those who cannot see them; without npm those tests are skipped.
browser-tools: $(VENV)/.ready-dev
	@if command -v npm >/dev/null; then npm install --silent --no-fund --no-audit --prefix $(VENV)/axe axe-core; \
	else echo "no npm: the accessibility test will be skipped"; fi

clean:
	rm -rf $(VENV) $(VENV)-lowest .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: $(PYTHON) is $$($(PYTHON) --version 2>&1). Name one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) || \
	  { rm -rf $(VENV); echo "No virtual environment could be made. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.ready-%: $(VENV)/.made pyproject.toml
	@test $* = dev || ! test $(VENV)/.ready-dev -nt pyproject.toml || exit 0; \
	  echo "installing evalkit and what it needs ($*); this takes a minute or two, once"; \
	  $(BIN)/python -m pip install --disable-pip-version-check -e '.[$*]' || \
	  { echo "The installation did not finish: see above. Run the same command again to go on."; exit 1; }
	@touch $@
