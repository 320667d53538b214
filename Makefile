# Two commands do everything: `make quickstart` installs mbc and runs it, `make test` installs and runs the tests.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
# A worker that dies ends the run: pytest-xdist may wait for ever for what it had still to do.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0
# Exact versions for a reproducible set-up; pyproject.toml keeps the ranges open for users.
PINS := -c .ci/constraints.txt

.PHONY: quickstart test llm browser fast lint audit docs clean

quickstart: $(VENV)/.installed
	PATH="$(abspath $(BIN)):$$PATH" bash examples/quickstart.sh

test: $(VENV)/.installed-test lint llm browser
	$(PYTEST)

# The LLM of the default adapter, which some tests ask; it is fetched once, into MBC_CACHE.
llm: $(VENV)/.installed-test
	$(BIN)/mbc base fetch smollm2-135m-instruct

# Chromium, in which pages are tested; installed where it is missing and we are allowed to.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	{ test "$$(id -u)" = 0 && apt-get -q update && \
	apt-get -qy install --no-install-recommends chromium chromium-driver fonts-dejavu-core; } || \
	{ echo 'the tests need Chromium: apt-get install chromium chromium-driver, or what your system has' >&2; exit 1; }

# The inner loop.
fast: $(VENV)/.installed-test llm browser
	$(PYTEST) -m 'not slow'

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python docs/generate_cli.py --check

# Known vulnerabilities of the pinned versions, where the package index can be asked.
audit: $(VENV)/.installed-test
	$(BIN)/python .ci/audit.py

docs: $(VENV)/.installed-test
	$(BIN)/python docs/generate_cli.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml .ci/constraints.txt
	$(BIN)/pip install --quiet $(PINS) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/bin/python pyproject.toml .ci/constraints.txt
	$(BIN)/pip install --quiet $(PINS) -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
