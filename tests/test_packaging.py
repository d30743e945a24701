"""Wheel and sdist have what they need, and the wheel works outside of the checkout."""

from __future__ import annotations

import fnmatch
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SKIPPED = shutil.ignore_patterns(
    *(".git", ".venv", "build", "dist", "mlruns", "*.egg-info", "__pycache__", ".*_cache")
)
"""What is no part of the sources."""
IN_WHEEL = [
    *(f"benchmark/report/page/*.{suffix}" for suffix in ("html", "js", "css")),
    "benchmark/configs/*.yaml",
    "benchmark/configs/recipes/*.yaml",
    "benchmark/deploy/kit_script.py",
    *("benchmark/py.typed", "clothclf/py.typed"),
    "*.dist-info/licenses/LICENSE",
]
IN_SDIST = ["tests", "docs", "configs", "deploy", ".ci", ".github"]
BUILD = """
import sys
from setuptools import build_meta
if sys.argv[1] == "sdist":
    build_meta.build_sdist(sys.argv[2])
else:
    build_meta.build_wheel(sys.argv[2])
"""


def build(kind: str, source: Path, output: Path) -> Path:
    """Build with the backend alone, which is there; `make dist` does it in isolation."""
    command = [sys.executable, "-c", BUILD, kind, str(output)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = output.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sdist."""
    top = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, top / "source", ignore=SKIPPED)
    with tarfile.open(build("sdist", top / "source", top)) as archive:
        archive.extractall(top / "unpacked", filter="data")
    (folder,) = (top / "unpacked").iterdir()
    return folder


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that is built from the sdist, as `python -m build` does."""
    return build("wheel", sdist, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the content of the wheel, which is all that installing it copies."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)  # noqa: S202 - built here
    return folder


BENCH = "from benchmark.cli import main; main()"


def run_installed(installed: Path, here: Path, *arguments: str, code: str = BENCH) -> str:
    """Run `bench` of the wheel, or other code, in another folder; return what it printed."""
    code = f"import benchmark, sys; print(benchmark.__file__, file=sys.stderr)\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(str(installed)), done.stderr
    return done.stdout


def test_the_wheel_has_all_modules_and_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for pattern in IN_WHEEL:
        assert fnmatch.filter(names, pattern), pattern
    ours = [path for name in ("benchmark", "clothclf") for path in (ROOT / name).rglob("*")]
    files = {
        path.relative_to(ROOT).as_posix()
        for path in ours
        if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts
    }
    configs = {
        f"benchmark/{p.relative_to(ROOT).as_posix()}" for p in ROOT.glob("configs/**/*.yaml")
    }
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == files | configs


def test_the_sdist_has_what_its_tests_read(sdist: Path) -> None:
    for top in IN_SDIST:
        ours = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / top).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and "secrets" not in path.parts
        }
        assert ours <= {p.relative_to(sdist).as_posix() for p in (sdist / top).rglob("*")}, top
    tops = {p.name for p in ROOT.iterdir() if p.is_file()} - {".git", ".gitignore", "report.md"}
    assert tops <= {p.name for p in sdist.iterdir()} | {"uv.lock"}


def test_the_installed_version(installed: Path, tmp_path: Path) -> None:
    from clothclf import __version__

    assert run_installed(installed, tmp_path, "--version") == f"bench, version {__version__}\n"


def test_the_demo_is_planned_in_any_folder(installed: Path, tmp_path: Path) -> None:
    assert "vgg16" in run_installed(installed, tmp_path, "run", "--all", "--dry-run")


def test_recipes_are_found_in_any_folder(installed: Path, tmp_path: Path) -> None:
    code = (
        "from benchmark.config.recipes import read_recipe, shipped_recipes\n"
        "for name in shipped_recipes(): read_recipe(name, name); print(name)"
    )
    names = run_installed(installed, tmp_path, code=code).split()
    assert names == sorted(path.stem for path in (ROOT / "configs/recipes").glob("*.yaml"))


def test_release_notes_are_the_section_of_the_version() -> None:
    notes = runpy.run_path(str(ROOT / ".ci/release_notes.py"))["notes"]
    text = "# Changelog\n\n## Unreleased\n\n- c\n\n## 1.0.1 (2030-01-01)\n\n- b\n\n## 1.0\n\n- a\n"
    assert notes(text, "1.0.1") == "- b\n"
    assert notes(text, "1.0") == "- a\n"
    for version in ("1.0.2", "1"):
        with pytest.raises(ValueError, match="no section"):
            notes(text, version)
    assert notes((ROOT / "CHANGELOG.md").read_text("utf-8"), "0.1.0")


def test_the_citation_has_the_version() -> None:
    import yaml

    from clothclf import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", __version__)
    assert citation["authors"]
