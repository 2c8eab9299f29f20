.PHONY: help setup setup-test run test check bench

PYTHON ?= python3
export PYTHON
OURS := .venv/bin/python

help:
	@echo "make run     the app in the browser (STREAMLIT_SERVER_PORT and STREAMLIT_SERVER_HEADLESS are heeded)"
	@echo "make test    all tests, those in a real browser included"
	@echo "make check   style, types and the direction of imports"
	@echo "make bench   measured speed"
	@echo "make setup   only make .venv and install requirements.txt"
	@echo "Each does its own set-up in .venv; PYTHON=python3.12 picks another interpreter."

setup:
	@scripts/setup.sh requirements.txt

# After setup, never beside it: two pips in one .venv would break it under make -j.
setup-test: setup
	@scripts/setup.sh requirements-test.txt

run: setup
	@exec $(OURS) -m streamlit run app.py

test: setup-test
	@PYTHON=$(OURS) scripts/find_chromium.sh --install >/dev/null || echo "hfcviz: no Chromium found, so browser tests skip (and fail where CI=true)"
	@$(OURS) -m pytest -n 2 --dist loadfile $(ARGS)

check: setup-test
	$(OURS) -m ruff check .
	$(OURS) -m ruff format --check .
	$(OURS) -m mypy
	$(OURS) -c "from importlinter.cli import lint_imports_command as main; main(['--no-logo'])"

bench: setup-test
	@$(OURS) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/bench -r requirements-bench.txt
	@PYTHON=$(OURS) scripts/find_chromium.sh --install >/dev/null || echo "hfcviz: no Chromium found, so neither scrolling nor exports can be measured"
	@missed=0; for one in run reading scrolling answering exporting rivals; do $(OURS) -m benchmarks.$$one || missed=1; done; exit $$missed
