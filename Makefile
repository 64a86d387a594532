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
# Many tests wait for something: two processors are enough for three workers. One that has nothing left to do takes tests
# from another. nbval is needed for notebooks only, and takes a second to load.
TESTS := -m pytest --numprocesses 3 --dist worksteal -p no:nbval
# A test that waits for a thread, a process or a browser may wait too long beside two others on a busy machine. The few
# that failed are named and run again, one at a time: what fails alone has failed.
FAILED := .pytest_cache/v/cache/lastfailed
ALONE := -m pytest -p no:nbval --last-failed --last-failed-no-failures none
FEW_AGAIN := test $$? = 1 && test $$(wc -l < $(FAILED)) -le 12 && \
  echo "these failed beside others, and run again alone:" && cat $(FAILED) && echo

# the tests start the command a thousand times: its byte code is kept, also where the environment says otherwise
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lab bench check check-lowest browser-tools notebooks notebooks-recorded notebooks-record clean
.DELETE_ON_ERROR:

demo: $(VENV)/.ready-local
	@$(BIN)/evalkit demo

test: $(VENV)/.ready-dev
	@rm -f $(FAILED)
	@$(BIN)/python $(TESTS) || { $(FEW_AGAIN) && $(BIN)/python $(ALONE); }

# JupyterLab shows pages of text as they are meant to be read, and does not ask about news; in this environment only
LAB_SETTINGS := $(VENV)/share/jupyter/lab/settings/overrides.json

# As root, as in most containers, Jupyter wants to be told that this is meant.
lab: $(VENV)/.ready-notebooks
	@mkdir -p $(dir $(LAB_SETTINGS))
	@echo '{"@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},' \
	  '"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}' > $(LAB_SETTINGS)
	@$(BIN)/jupyter lab $$(test "$$(id -u)" != 0 || echo --allow-root) --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/README.md

bench: $(VENV)/.ready-dev
	@for bench in tests/benchmarks/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

check: $(VENV)/.ready-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory notebooks
	@$(MAKE) --no-print-directory notebooks-recorded

NBVAL := $(BIN)/python -m pytest --nbval --nbval-cell-timeout=120 --timeout=300 -p no:cacheprovider --dist loadfile notebooks/

notebooks: $(VENV)/.ready-dev
	@$(NBVAL) --numprocesses 2 || { test $$? = 1 && echo "the notebooks run again, one at a time:" && $(NBVAL) --numprocesses 1; }

# The notebooks that have a recording, without a model, every output compared to the letter; and the recordings, made
# again with the embedded model.
RECORDED := $(patsubst tests/notebooks/recorded/%.jsonl,notebooks/%.ipynb,$(wildcard tests/notebooks/recorded/*.jsonl))
# without names, pytest would run every test
NONE_RECORDED := echo "no notebook has a recording in tests/notebooks/recorded"

notebooks-recorded: $(VENV)/.ready-dev
	@$(if $(RECORDED),NOTEBOOKS_RECORDED=1 $(BIN)/python -m pytest --nbval --nbval-cell-timeout=60 --timeout=120 \
	  -p no:cacheprovider --numprocesses 2 --dist loadfile $(RECORDED),$(NONE_RECORDED))

notebooks-record: $(VENV)/.ready-dev
	@$(if $(RECORDED),$(BIN)/python tests/support/rerun_notebooks.py --record $(RECORDED),$(NONE_RECORDED))

# The tests of what calls other packages, with the oldest versions of them that pyproject.toml allows, in an environment of
# their own. Old versions warn about each other, so warnings are no errors here.
LOWEST_TESTS := tests/test_imports.py tests/scorers tests/stats tests/charts \
  tests/datasets/test_character_sets.py tests/datasets/test_csv_rows.py tests/datasets/test_dataset_file.py \
  tests/datasets/test_parquet_rows.py tests/datasets/test_reader.py tests/datasets/test_row_formats.py \
  tests/importing/test_forms.py \
  tests/client/test_answer_reader.py tests/client/test_captures.py tests/client/test_lenient_http.py \
  tests/client/test_sse.py tests/client/test_transport.py \
  tests/engine/test_content_parts.py tests/engine/saving/test_spool.py tests/engine/saving/test_writer.py \
  tests/runfile/test_exports.py tests/runfile/test_store.py tests/runfile/test_turn_columns.py \
  tests/analysis/test_measures.py tests/analysis/test_tables.py tests/comparing/test_pairing.py \
  tests/console tests/report/test_html_report.py \
  tests/widgets/test_chat.py tests/widgets/test_controls.py tests/widgets/test_display.py \
  tests/widgets/test_live_state.py \
  tests/cli/test_plot.py tests/cli/test_show.py tests/test_endpoint.py tests/test_rescoring.py

LOWEST_SETTINGS := -q -W default --hypothesis-profile=few

check-lowest: $(VENV)/.ready-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv venv --quiet --seed --clear $(VENV)-lowest
	@$(BIN)/uv pip install --quiet --python $(VENV)-lowest --resolution lowest-direct -e '.[dev]'
	@rm -f $(FAILED)
	@$(VENV)-lowest/bin/python $(TESTS) $(LOWEST_SETTINGS) $(LOWEST_TESTS) || \
	  { $(FEW_AGAIN) && $(VENV)-lowest/bin/python $(ALONE) $(LOWEST_SETTINGS) $(LOWEST_TESTS); }

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
