# Each target does its own set-up in .venv. It needs Python 3.11 or newer, git and make.
#   make demo PIP_FLAGS="--extra-index-url URL"   also uses this package index, for example for CPU wheels
#   make test WORKERS=1                           runs the tests in one process
#   make rehearsal                                one seed of the paper's study, on a few generated images
#   make test-faults                              kills, damaged files, full disks, no network; Linux
#   make test-documented                          tests with the methods of docs/add-a-method.md added
#   make evidence                                 docs/evidence/mechanism.md from scratch; an hour or less
#   make docs                                     the documentation site, in build/site
#   make dist                                     the wheel and the source archive, in dist
#   make readme-picture                           picture of the demo's page for the README; Chromium
#   make bench                                    side by side with other code on a CPU; 15 minutes
#   make test-slurm                               tests on a Slurm of one node that it sets up; Debian, root
#   make gpu-check                                ten minutes on a GPU, with $(PYTHON) as it is; docs/gpu.md
#   make gpu-check-packages                       the folder `carried` for a GPU machine without a network
#   make test-conda                               tests with a conda and a channel that it sets up; Linux

PYTHON ?= python3
PIP_FLAGS ?=
WORKERS ?= 2
CORES ?= all
# of gpu-check
DEVICE ?= cuda
SECONDS ?= 600
STUDY ?= config/paper.yaml

BIN := .venv/bin
INSTALLED := .venv/installed
CONDA := .venv-conda
SLURM := .venv-slurm
BENCH := .venv-bench
DOCS := .venv-docs
DIST := .venv-dist
# as after `source .venv/bin/activate`
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: environments demo readme-picture rehearsal evidence test test-faults test-documented test-conda test-slurm bench gpu-check \
	gpu-check-packages docs dist lint format clean

# those of the tests that are not `make test`, for .ci/run
environments: $(SLURM)/installed $(CONDA)/installed $(DOCS)/installed $(DIST)/installed

demo: $(INSTALLED)
	@echo "Commands need this environment: source $(BIN)/activate. Each job prints one line when it has ended."
	$(BIN)/snakemake --cores $(CORES) --configfile config/demo.yaml
	@echo
	@cat results/demo/tables/table1.md
	@echo "Tables and figures: $(CURDIR)/results/demo/tables, $(CURDIR)/results/demo/figures"
	@echo "The page to open:   $(CURDIR)/results/demo/report.html"

readme-picture: demo
	$(BIN)/python docs/images/readme_picture.py results/demo/report.html docs/images/page.png

rehearsal: $(INSTALLED)
	$(BIN)/snakemake --cores $(CORES) --configfile config/paper.yaml config/rehearsal.yaml
	@echo "The paper's study ran, small, from end to end: $(CURDIR)/results/rehearsal/report.html"

evidence: $(INSTALLED)
	$(BIN)/snakemake --cores $(CORES) --configfile config/evidence/mechanism.yaml
	@echo "docs/evidence/mechanism.md explains it: $(CURDIR)/results/mechanism/report.html"

bench: $(BENCH)/installed
	$(BENCH)/bin/python -m bench

test-slurm: $(SLURM)/installed
	timeout -k 30 900 $(SLURM)/bin/python -m pytest -p no:xdist -p no:cacheprovider tests/slurm

test-conda: $(CONDA)/installed
	PIP_FLAGS='$(PIP_FLAGS)' timeout -k 30 420 $(CONDA)/bin/python -m pytest -p no:cacheprovider tests/conda

# Each worker has a core of its own: threads of torch in several workers would wait for each other.
test test-faults test-documented: export OMP_NUM_THREADS := 1

# loadfile: a worker takes whole files, so that the fixtures of a file are made once.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-faults: $(INSTALLED)
	timeout -k 30 480 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -p no:cacheprovider tests/faults

test-documented: $(INSTALLED)
	$(BIN)/python tests/documented_methods.py --workers $(WORKERS)

# strict: a warning is an error. The variable silences an advertisement.
docs: $(DOCS)/installed
	PATH="$(CURDIR)/$(DOCS)/bin:$$PATH" NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet
	$(DOCS)/bin/python tests/site/check_site.py build/site
	@echo "The site to open: $(CURDIR)/build/site/index.html"

dist: $(DIST)/installed
	rm -rf dist
	$(DIST)/bin/python -m build --no-isolation --quiet
	$(DIST)/bin/twine check --strict dist/*

# It installs nothing: the packages are those of $(PYTHON) and, if it exists, of the folder `carried`.
gpu-check: export PYTHONPATH := $(CURDIR)/carried:$(PYTHONPATH)
gpu-check:
	@$(PYTHON) tests/gpu/gpu_check.py --device $(DEVICE) --seconds $(SECONDS) --study $(STUDY)

gpu-check-packages:
	$(PYTHON) -m pip install --quiet --upgrade --target carried --constraint constraints.txt $(PIP_FLAGS) \
		--requirement tests/gpu/requirements.txt

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

# Installs what NEEDS names, and says what it does. pip would compile on one core; compileall uses all cores.
define new_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "soteacher needs Python 3.11 or newer: make PYTHON=python3.11")'
	@echo "Set-up of $(@D), once; $(COSTS)"
	@echo "1 of 3: making a virtual environment with $(PYTHON)"
	@$(PYTHON) -m venv $(@D)
	@echo "2 of 3: downloading and installing packages; pip prints nothing while it works"
	@$(@D)/bin/pip install --quiet --no-compile $(PIP_FLAGS) $(NEEDS)
	@echo "3 of 3: compiling them, on all cores"
	@$(@D)/bin/python -m compileall -qq -j 0 $(@D)/lib || true  # a few files in packages are not valid Python
	@touch $@
	@echo "Set-up of $(@D) is complete."
endef

COSTS = 2 minutes if the network is fast. PyPI's torch contains CUDA: some gigabytes to download, 6 GB on disk. \
	For CPU wheels, which are smaller, see \`PIP_FLAGS\` in the README.

$(INSTALLED): NEEDS := --constraint constraints.txt --editable '.[workflow,test,lint]'
$(INSTALLED): pyproject.toml constraints.txt
	$(new_venv)

# A separate environment, without soteacher and torch; the conda is copied into it.
$(CONDA)/installed: COSTS := without torch.
$(CONDA)/installed: NEEDS := --requirement tests/conda/requirements.txt
$(CONDA)/installed: tests/conda/requirements.txt constraints.txt
	$(new_venv)

# A separate environment: the plugin slows down every call of Snakemake if Slurm is installed but does
# not answer. It has an older torch than .venv, which the package also supports.
$(SLURM)/installed: NEEDS := --constraint $(SLURM)/constraints.txt --editable '.[workflow,test,slurm]' torch==2.13.0
$(SLURM)/installed: pyproject.toml constraints.txt
	mkdir -p $(@D)
	grep -v '^torch' constraints.txt > $(@D)/constraints.txt
	$(new_venv)

# A separate environment, with the code that is compared.
$(BENCH)/installed: NEEDS := --constraint constraints.txt --editable '.[workflow]' --requirement bench/requirements.txt
$(BENCH)/installed: pyproject.toml constraints.txt bench/requirements.txt
	$(new_venv)

# Separate environments, without soteacher: an extra of pyproject.toml alone.
extra = $(shell $(PYTHON) -c 'import sys, tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"][sys.argv[1]])' $(1))

$(DOCS)/installed $(DIST)/installed: COSTS := without torch.
$(DOCS)/installed: NEEDS = --constraint constraints.txt $(call extra,docs)
$(DIST)/installed: NEEDS = --constraint constraints.txt $(call extra,dist)
$(DOCS)/installed $(DIST)/installed: pyproject.toml constraints.txt
	$(new_venv)

clean:
	rm -rf build carried dist .venv $(CONDA) $(SLURM) $(BENCH) $(DOCS) $(DIST) .snakemake results
