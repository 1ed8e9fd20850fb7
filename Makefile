# make demo [CLIP=path]   set up, deblur a clip, print what was gained
# make test               lint, types and the suite
# make test-all           the slow and GPU checks too
# make docs               the documentation as a site, into site/
# make results DATA=path  the papers' tables on a folder of sharp clips, into docs/results.md
# make test-report        the page of `run --report` in headless Chromium (needs Node.js and Chromium)
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-all docs results test-report lint format clean

$(READY): setup.cfg pyproject.toml
	@echo 'installing into $(VENV); PyTorch alone is some hundred megabytes'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $(READY)

demo: $(READY)
	$(BIN)/python -m benchmarks.demo $(if $(CLIP),--clip '$(subst ','\'',$(CLIP))')

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-all: lint
	$(BIN)/python -m pip install --quiet --editable '.[test,ray]'
	$(BIN)/python -m pytest

docs: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/mkdocs build --strict

results: $(READY)
	$(BIN)/python -m benchmarks.results --data '$(subst ','\'',$(DATA))'

test-report: demo
	$(BIN)/fvdeblur run demo/moving-photograph.mp4 -o demo/reported.mp4 --report demo/report.html --overwrite
	cd demo && npm install --no-save --no-package-lock playwright-core axe-core
	cd demo && node ../tests/browser/check_report.mjs report.html

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist *.egg-info demo runs
