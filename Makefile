# run: the demo study and its report · test: the suite · test-quick: without browsers, clusters and injected faults · check: lint, types, declared dependencies and layers · docs: the documentation as a site in build/site · diagram: the packages in docs/architecture.md · perf: benchmarks · faults: injected faults · cluster: Ray, a shared store, several GPUs
PYTHON ?= python3
# pip leaves compiling to the first import, which is repeated in each process unless it is written.
unexport PYTHONDONTWRITEBYTECODE

run: .venv/installed
	.venv/bin/bench run --all && .venv/bin/bench report -o report.md

test: .venv/installed
	.venv/bin/pytest -m "not slow" --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-quick: .venv/installed
	.venv/bin/pytest -m "not slow and not browser and not cluster and not faults" --numprocesses auto --dist loadfile

test-all: .venv/installed
	.venv/bin/pytest

check: .venv/installed
	.venv/bin/ruff check && .venv/bin/ruff format --check && .venv/bin/mypy && .venv/bin/deptry . && .venv/bin/lint-imports --no-logo

faults: .venv/installed
	.venv/bin/pytest tests/faults

cluster: .venv/installed
	.venv/bin/pytest tests/cluster

# Material prints the date of its end of life at each build, unless it is told not to.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict

diagram: .venv/installed
	.venv/bin/python docs/draw_packages.py

perf: .venv/installed
	.venv/bin/python -m tests.performance

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --no-compile --constraint constraints.txt --editable '.[test,docs]'
	touch $@

.PHONY: run test test-quick test-all check docs diagram perf faults cluster
