# Each target does all its own set-up in .venv: it needs Python 3.11 or newer, git and make.
#   make demo PIP_FLAGS="--extra-index-url URL"   looks for packages there too, say for CPU wheels
#   make test WORKERS=1                           runs the tests in one process
#   make rehearsal                                the paper's whole study, on a few generated images
#   make test-documented                          tests with the methods of docs/add-a-method.md added
#   make test-slurm                               on a Slurm of one node, which it sets up; Debian, root
#   make test-conda                               with a conda and a channel, which it sets up; Linux

PYTHON ?= python3
PIP_FLAGS ?=
WORKERS ?= 2
CORES ?= all

BIN := .venv/bin
INSTALLED := .venv/installed
CONDA := .venv-conda
SLURM := .venv-slurm
export PATH := $(CURDIR)/$(BIN):$(PATH)# the workflow's rules call `python`

.PHONY: demo rehearsal test test-documented test-conda test-slurm lint format clean

demo: $(INSTALLED)
	$(BIN)/snakemake --cores $(CORES) --configfile config/demo.yaml
	@echo
	@cat results/demo/tables/table1.md
	@echo "Tables and figures: $(CURDIR)/results/demo/tables, $(CURDIR)/results/demo/figures"
	@echo "The page to open:   $(CURDIR)/results/demo/report.html"

rehearsal: $(INSTALLED)
	$(BIN)/snakemake --cores $(CORES) --configfile config/paper.yaml config/rehearsal.yaml
	@echo "The paper's study ran, small, from end to end: $(CURDIR)/results/rehearsal/report.html"

test-slurm: $(SLURM)/installed
	timeout -k 30 540 $(SLURM)/bin/python -m pytest -p no:xdist -p no:cacheprovider tests/slurm

test-conda: $(CONDA)/installed
	PIP_FLAGS='$(PIP_FLAGS)' timeout -k 30 420 $(CONDA)/bin/python -m pytest -p no:cacheprovider tests/conda

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS)

test-documented: $(INSTALLED)
	$(BIN)/python tests/documented_methods.py --workers $(WORKERS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/python tests/unit/shipped_methods.py
	$(BIN)/snakemake --lint --configfile config/demo.yaml

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

# of what NEEDS names; pip would compile on one core, compileall does it on all
define new_venv
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "soteacher needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --no-compile $(PIP_FLAGS) $(NEEDS)
	$(@D)/bin/python -m compileall -qq -j 0 $(@D)/lib || true  # a few files of packages are no Python
	touch $@
endef

$(INSTALLED): NEEDS := --constraint constraints.txt --editable '.[workflow,test,lint]'
$(INSTALLED): pyproject.toml constraints.txt
	$(new_venv)

# apart from the other: no soteacher, no torch, and the conda is copied into it
$(CONDA)/installed: NEEDS := --requirement tests/conda/requirements.txt
$(CONDA)/installed: tests/conda/requirements.txt constraints.txt
	$(new_venv)

# apart too: the plugin slows every call of Snakemake where Slurm is installed and does not answer.
# An older torch than in .venv, which the package takes as well.
$(SLURM)/installed: NEEDS := --constraint $(SLURM)/constraints.txt --editable '.[workflow,test,slurm]' torch==2.13.0
$(SLURM)/installed: pyproject.toml constraints.txt
	mkdir -p $(@D)
	grep -v '^torch' constraints.txt > $(@D)/constraints.txt
	$(new_venv)

clean:
	rm -rf .venv $(CONDA) $(SLURM) .snakemake results
