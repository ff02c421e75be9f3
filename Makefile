# Every target sets up what it needs; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

DATA ?=
PROFILE ?= quick
SEED ?= 0
DEVICE ?= cpu
SET := $(if $(strip $(DATA)),$(notdir $(patsubst %/,%,$(DATA))),synthetic)
# What one makes goes to runs/SET-PROFILE, which git ignores, or to OUT. RECORD=1 writes the results of record in
# results/ instead, which the README shows; those of a real set hold its pixels and are never kept there.
OUT ?=
RECORD ?=
ifneq ($(filter-out 0,$(RECORD)),)
ifneq ($(strip $(DATA)),)
$(error RECORD=1 keeps results of the embedded landscape alone: leave DATA or RECORD out)
endif
RESULTS := results/$(PROFILE)
STUDY_RESULTS := results/study$(if $(filter quick,$(PROFILE)),,-$(PROFILE))
BENCH_RESULTS := results/bench$(if $(filter cuda,$(DEVICE)),_cuda)
endif
TO = $(if $(OUT)$(1),--out "$(or $(OUT),$(1))")

# The benchmark: cpu or cuda, where a process a case would take longer in starting than in measuring.
BENCH = --device "$(DEVICE)" $(if $(filter cuda,$(DEVICE)),--in-process)

# The fusion study (notebook 06) on a real set starts from the landscape's runs; FOLDS=0,1,2,3,4 is cross-validation.
FOLDS ?=
SCHEDULER ?=
# Chips whose rgb run a study of real chips starts from, such as many of 4 m for few of 10 m.
SOURCE ?=
STUDY = --set folds="$(FOLDS)" $(if $(strip $(DATA)),--set kind=transfer --set more_seeds=) \
	$(if $(strip $(SCHEDULER)),--set scheduler="$(SCHEDULER)") $(if $(strip $(SOURCE)),--set source="$(SOURCE)")
SMOKE_STUDY = --set seeds=0 --set more_seeds= $(if $(strip $(DATA)),--set kind=transfer --set names=rgb$(COMMA)rgb_scratch$(COMMA)trees, \
	--set names=residual_cross_attention$(COMMA)decision$(COMMA)data_trees)
COMMA := ,

# The first of these that runs (a pyenv shim may exist and fail), is 3.11 or 3.12, and can make environments.
CHECK := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
ifndef PYTHON
PYTHON := $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c '$(CHECK)' >/dev/null 2>&1 && { echo $$p; break; }; done)
endif

PY := .venv/bin/python
# The name holds a checksum of what decides the contents, so a change of either file makes a new stamp.
STAMP := .venv/.installed-$(shell cat requirements.lock pyproject.toml 2>/dev/null | cksum | tr ' ' '-')
RUN = $(PY) -m rtslib workbook run --seed "$(SEED)" $(if $(strip $(DATA)),--data "$(DATA)")

.PHONY: help install reproduce study bench figures test lint smoke lab docs pictures lock clean

help: ## show this list
	@echo "make TARGET [DATA=folder] [PROFILE=smoke|quick|overnight|gpu] [SEED=0] [OUT=folder] [RECORD=1] [PYTHON=python3.11]"
	@echo "make study also takes [FOLDS=0,1,2,3,4] [SCHEDULER=tcp://host:8786] [SOURCE=folder], make bench [DEVICE=cpu|cuda]"
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /\1\t/' | while IFS=$$'\t' read -r t d; do \
		printf '  %-11s %s\n' "$$t" "$$d"; done

install: $(STAMP) ## make .venv with all that is needed, from exact versions; every target does so first
	@echo "installed: source .venv/bin/activate, then rtslib --help"

reproduce: $(STAMP) ## run notebooks 00-05; tables, figures and the map go to OUT (default runs/SET-PROFILE)
	$(RUN) --profile "$(PROFILE)" $(call TO,$(RESULTS))

study: $(STAMP) ## run the whole fusion study (notebook 06): an hour and a half on two cores, can be stopped and goes on
	$(RUN) --profile "$(PROFILE)" --only 06 $(call TO,$(STUDY_RESULTS)) $(STUDY)

bench: $(STAMP) ## measure speed and memory beside timm and torchvision, DEVICE=cuda on a GPU
	$(PY) -m rtslib benchmark speed $(BENCH) --out "$(or $(OUT),$(BENCH_RESULTS),runs/bench)"

figures: $(STAMP) ## redraw every chart, and the tables of README and docs, from the committed CSVs
	$(PY) -m rtslib figures

test: $(STAMP) ## run the tests; what was skipped is listed with its reason
	$(PY) -m pytest -q -rs

lint: $(STAMP) ## check style (ruff) and types (mypy)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

smoke: $(STAMP) ## run every notebook on a tiny profile, output in scratch/smoke
	$(RUN) --profile smoke --out "scratch/smoke/$(SET)"
	$(RUN) --profile smoke --only 06 --out "scratch/smoke/$(SET)-study" $(SMOKE_STUDY)

lab: $(STAMP) ## open the project in JupyterLab: notebooks/ to change, results/ to read
	$(PY) -m jupyter lab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks

docs: $(STAMP) ## build the documentation into site/, without a network; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs --quiet build --strict
	@echo "open site/index.html"

pictures: docs ## take the screenshots in docs/pictures of results/quick/map.html and of site/ (needs Chromium)
	$(PY) docs/screenshots.py

lock: ## resolve pyproject.toml in a clean environment and write requirements.lock
	@$(require_python)
	$(PYTHON) -m venv --clear scratch/lock-venv
	scratch/lock-venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test,docs]' 'setuptools>=77'
	{ echo '# Exact versions for Python 3.11 and 3.12, written by `make lock`: edit pyproject.toml instead.'; \
	  scratch/lock-venv/bin/python -m pip freeze --all --exclude-editable --exclude pip --exclude wheel \
	  | sed -E '/^(nvidia-|cuda-|triton==)/ s/$$/ ; sys_platform == "linux"/'; } > requirements.lock.part
	mv requirements.lock.part requirements.lock
	rm -rf scratch/lock-venv

clean: ## remove .venv, scratch/ and caches; never results/ or runs/
	rm -rf .venv scratch site build lightning_logs *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache
	find rtslib tests notebooks -name __pycache__ -prune -exec rm -rf {} + -o -name .ipynb_checkpoints -prune -exec rm -rf {} +

define require_python
$(or $(PYTHON),false) -c '$(CHECK)' 2>/dev/null || { \
	echo "error: no Python 3.11 or 3.12 that can make environments was found;" \
	"install one (with venv) or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; }
endef

$(STAMP):
	@if ! $(PY) -c '$(CHECK)' 2>/dev/null; then \
		$(require_python); echo "making .venv with $(PYTHON)"; $(PYTHON) -m venv --clear .venv; fi
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm -f .venv/.installed-*; touch $@
