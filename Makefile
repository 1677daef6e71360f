# Everything a developer runs. Each target builds .venv first and needs only Python 3.11, pip and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/pip install --disable-pip-version-check --quiet
STAMP := .venv/.installed
CHAT := .venv/.chat

.PHONY: help demo test lint hermetic lab-test bench lock clean

help:
	@echo "make demo      certify the embedded server and write results/demo/report.html"
	@echo "make test      lint, types, layer rule, hermetic tests with branch coverage"
	@echo "make lab-test  the tests that start real servers (root)"
	@echo "make lint      format, lint, types, layer rule"
	@echo "make bench     our engine and sink against Postfix's smtp-source and smtp-sink (root)"
	@echo "make lock      resolve requirements.lock again (UPGRADE=--upgrade: to the newest)"
	@echo "make clean     remove .venv and every cache"

.venv: $(STAMP) $(CHAT)

# Debian's python3 has no ensurepip without python3-venv: then the pip outside installs the one inside.
$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv --clear .venv >/dev/null 2>&1 || { \
	  $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python .venv install --quiet pip; }
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	touch $(STAMP)

# The part of the engine that is in C. Without a compiler all of it is Python, and the tests say what they leave out.
$(CHAT): $(STAMP) hatch_build.py smtpbench/load/_chat.c smtpbench/load/_chat.h
	$(BIN)/python hatch_build.py || true
	touch $(CHAT)

# Exit code 1 means that the server has findings (the embedded one has): the demo still worked. Its last
# line names the report.
demo: $(STAMP) $(CHAT)
	$(BIN)/smtpbench certify embedded --users 8 --run-time 8s --out results/demo || test $$? -eq 1

test: lint hermetic

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

hermetic: $(STAMP) $(CHAT)
	$(BIN)/pytest -n 2 --dist worksteal -m "not lab" --cov --cov-report=term-missing:skip-covered

lab-test: $(STAMP) $(CHAT)
	@test "$$(id -u)" = 0 || { echo "lab tests need root: they start servers in a private root and drop privileges"; exit 2; }
	$(BIN)/pytest -m lab

bench: $(STAMP) $(CHAT)
	$(BIN)/python benchmarks/engine_vs_smtp_source.py
	$(BIN)/python benchmarks/sink_vs_smtp_sink.py

lock:
	test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/pip install --quiet uv; }
	$(BIN)/uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --group dev --generate-hashes \
	  --no-emit-index-url --no-strip-extras --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean:
	rm -f smtpbench/load/_chat.*.so
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
