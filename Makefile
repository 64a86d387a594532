# demo   run a small dataset against the embedded model and show the result
# test   the test suite
# lab    the notebooks in JupyterLab
# bench  the benchmarks; each prints its table
# check  style, types and the notebooks, as CI runs them
#
# Each target sets up .venv with Python 3.11 or newer first. A set-up that was interrupted continues the next time.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# many tests wait for something: two processors are enough for three workers
WORKERS := --numprocesses 3 --dist loadfile
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))

.PHONY: demo test lab bench check check-lowest browser-tools notebooks clean
.DELETE_ON_ERROR:

demo: $(VENV)/.ready-local
	@$(BIN)/evalkit demo

test: $(VENV)/.ready-dev
	@$(BIN)/python -m pytest $(WORKERS)

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

# The tests with the oldest dependencies that pyproject.toml allows, in an environment of their own. Old versions warn
# about each other, so warnings are no errors here. Left out: the embedded model and the tests in a browser.
check-lowest: $(VENV)/.ready-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv venv --quiet --seed --clear $(VENV)-lowest
	@$(BIN)/uv pip install --quiet --python $(VENV)-lowest --resolution lowest-direct -e '.[dev]'
	@$(VENV)-lowest/bin/python -m pytest $(WORKERS) -q -W default \
	  --ignore tests/local/test_model_file.py --ignore tests/local/test_server.py \
	  --ignore tests/widgets/test_jupyterlab.py --ignore tests/report/test_in_a_browser.py

# axe-core checks pages for accessibility; without npm the accessibility tests are skipped.
browser-tools: $(VENV)/.ready-dev
	@if command -v npm >/dev/null; then npm install --silent --no-fund --no-audit --prefix $(VENV)/axe axe-core; \
	else echo "no npm: the accessibility test will be skipped"; fi

clean:
	rm -rf $(VENV) $(VENV)-lowest .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: $(PYTHON) is $$($(PYTHON) --version 2>&1). Choose another one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "creating a virtual environment in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) || \
	  { rm -rf $(VENV); echo "The virtual environment could not be created. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.ready-%: $(VENV)/.made pyproject.toml
	@test $* = dev || ! test $(VENV)/.ready-dev -nt pyproject.toml || exit 0; \
	  echo "installing evalkit and its dependencies ($*); this takes a minute or two, once"; \
	  $(BIN)/python -m pip install --disable-pip-version-check -e '.[$*]' || \
	  { echo "The installation did not finish: see above. Run the same command again to continue."; exit 1; }
	@touch $@
