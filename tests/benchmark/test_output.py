"""`-o` of every command: files are replaced whole, and what is no file is written through."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from benchmark.cli import main
from clothclf.data.atomic import output_file, write_text
from tests.benchmark.conftest import COMMAND, TINY, StudyRun, environment, run_bench
from tests.benchmark.drawn_variants import write_measured

RUN = ("--run", "test_resnet-s0", "-c", "tiny.yaml")
SELECT = ("--budget", "20m", "--finalists", "1", "--final", "study", "-c", "tiny.yaml")
COMMANDS = {
    "compare": ("compare", "test_resnet-s0", "test_efficientnet-s0", "-c", "tiny.yaml"),
    "cost": ("cost", "test_resnet", "--image-size", "32"),
    "cost --all-timm": ("cost", "--all-timm", "--quick", "--format", "csv"),
    "models": ("models", "test_resnet", "--image-size", "32"),
    "data preview": ("data", "preview", "-c", "tiny.yaml"),
    "data audit": ("data", "audit", "-c", "tiny.yaml"),
    "predict": ("predict", "picture.jpg", *RUN),
    "export": ("export", "--check", "2", "--format", "torchscript", *RUN),
    "report": ("report", "-c", "tiny.yaml"),
    "pack": ("pack", "-c", "tiny.yaml"),
    "deploy": ("deploy", "--add", "measured.json", "-c", "tiny.yaml"),
    "select": ("select", "test_resnet", *SELECT),
    "init": ("init", "mlruns/cache/demo/v1-10-seed0", "--force"),
    "config schema": ("config", "schema"),
}
HOLDS = {
    "data preview": b"\x89PNG",
    "export": b"PK",
    "pack": b"PK",
    "predict": b"picture.jpg",
    "init": b"label: articleType",
    "config schema": b'"architectures"',
}
"""What a command's output holds, where that is not the name of an architecture."""
ALL_TIMM = "cost --all-timm"


@pytest.fixture(scope="module")
def folder(tiny_study: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny study, with an image and a variant that another device has measured."""
    copy = tmp_path_factory.mktemp("output") / "study"
    shutil.copytree(tiny_study.folder, copy)
    image = next((copy / "mlruns/cache/demo").rglob("*.jpg"))
    shutil.copyfile(image, copy / "picture.jpg")
    (copy / "tiny.yaml").write_text(TINY)
    write_measured(copy / "measured.json", copy / "mlruns")
    return copy


@pytest.fixture(scope="module")
def counted() -> str:
    """A table of all of timm, so that nothing is left to count."""
    from clothclf.cost.catalogue import COLUMNS
    from clothclf.models.architectures import expand_names

    rest = "," * (len(COLUMNS) - 1)
    rows = [f"{name}{rest}" for name in expand_names(["*"])]
    return "\n".join([",".join(COLUMNS), *rows]) + "\n"


def _outputs(group: click.Group, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _outputs(command, f"{before}{name} ")
        elif any("-o" in option.opts for option in command.params):
            yield before + name


def test_every_command_with_an_output_is_tested_here() -> None:
    """Curves need more images than the tiny study has: test_learning_curves.py. A gallery is a
    folder: test_gallery.py."""
    assert set(_outputs(main)) == (set(COMMANDS) - {ALL_TIMM}) | {"curve", "gallery"}


def looks_right(command: str, content: bytes) -> bool:
    return HOLDS.get(command, b"test_resnet") in content


@pytest.mark.parametrize("command", COMMANDS)
def test_a_symlink_keeps_pointing(command: str, folder: Path, counted: str) -> None:
    target, link, before = (folder / name for name in ("target.out", "link", "before.out"))
    target.write_text(counted if command == ALL_TIMM else "old")
    before.unlink(missing_ok=True)
    before.hardlink_to(target)
    link.unlink(missing_ok=True)
    link.symlink_to("target.out")
    done = run_bench(folder, *COMMANDS[command], "-o", "link")
    assert done.code == 0, done.err
    assert link.readlink() == Path("target.out")
    assert not target.samefile(before)
    assert looks_right(command, target.read_bytes())


def test_plots_keep_symlinks(folder: Path) -> None:
    plots = folder / "plots"
    plots.mkdir()
    (plots / "seed-spread.svg").symlink_to("../elsewhere.svg")
    done = run_bench(folder, *COMMANDS["report"], "--plots", "plots")
    assert done.code == 0, done.err
    assert (plots / "seed-spread.svg").is_symlink()
    assert "<svg" in (folder / "elsewhere.svg").read_text()


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {ALL_TIMM}))
def test_a_fifo_is_written_through(command: str, folder: Path) -> None:
    fifo = folder / "fifo"
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
    reader.start()
    done = run_bench(folder, *COMMANDS[command], "-o", "fifo")
    assert done.code == 0, done.err
    assert stat.S_ISFIFO(fifo.lstat().st_mode)
    reader.join(30)
    assert looks_right(command, read[0])


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {ALL_TIMM}))
def test_a_dash_is_standard_output(command: str, folder: Path) -> None:
    done = run_bench(folder, *COMMANDS[command], "-o", "-")
    assert done.code == 0, done.err
    assert looks_right(command, done.out.encode("utf-8", "surrogateescape"))
    assert not (folder / "-").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_is_refused_in_one_sentence(command: str, folder: Path) -> None:
    done = run_bench(folder, *COMMANDS[command], "-o", "mlruns")
    assert done.code == 2
    assert "'mlruns' is a directory" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_standard_output_by_its_path_is_appended_to(kind: str, folder: Path) -> None:
    """A shell's `>>` keeps what the file held; no link or device is replaced."""
    target = folder / "log.txt"
    target.write_bytes(b"before\n")
    before = os.lstat("/dev/stdout")
    with target.open("ab") as file:
        done = subprocess.run(
            [*COMMAND, *COMMANDS["report"], "-o", "/dev/stdout"],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE if kind == "pipe" else file,
            check=True,
        )
    written = done.stdout if kind == "pipe" else target.read_bytes().removeprefix(b"before\n")
    assert written.startswith(b"# ")
    assert (kind == "file") == (target.read_bytes() != b"before\n")
    assert os.lstat("/dev/stdout").st_ino == before.st_ino


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("name", ["run", "report"])
def test_commands_end_well_where_the_shell_has_closed_a_stream(
    name: str, closed: tuple[int, ...], folder: Path
) -> None:
    """As `>&-` does; what the other streams get is not mixed up with what a file gets."""
    command = {"run": ("run", "--all", "-c", "tiny.yaml"), **COMMANDS}[name]

    def close() -> None:
        for number in closed:
            os.close(number)

    done = subprocess.run(
        [*COMMAND, *command],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=close,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert (done.stdout == "") == (1 in closed)


def test_a_reader_that_is_missing_ends_a_study_without_a_traceback(folder: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", "--all", "-c", "tiny.yaml"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), "Traceback" in errors, "Exception" in errors) == (1, False, False)


def test_a_character_device_is_written_through() -> None:
    ours, theirs = os.openpty()
    path = Path(os.ttyname(theirs))
    with output_file(path) as unfinished:
        unfinished.write_text("content")
    assert os.read(ours, 100) == b"content"
    assert stat.S_ISCHR(path.lstat().st_mode)
    os.close(ours)
    os.close(theirs)


def test_a_symlink_to_nothing_yet_creates_its_target(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("below/target")
    with output_file(link) as unfinished:
        unfinished.write_text("content")
    assert link.is_symlink()
    assert (tmp_path / "below/target").read_text() == "content"


def test_a_failed_write_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with contextlib.suppress(KeyboardInterrupt), output_file(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "--format", "csv"),
        ("cost", "test_resnet", "--format", "json"),
        ("compare", "a", "b", "--format", "table"),
        ("models", "test_resnet", "--format", "csv"),
        ("predict", "a.jpg", "--format", "table"),
        ("export", "--format", "torch"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_suffix_that_contradicts_the_format_is_refused(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    suffix = {"report": ".md", "cost": ".csv", "compare": ".md", "models": ".json"}
    output = f"x{suffix.get(arguments[0], '.onnx' if arguments[0] == 'export' else '.csv')}"
    done = run_bench(tmp_path, *arguments, "-o", output)
    assert done.code == 2
    assert f"-o {output} implies the format" in done.err
    assert f"--format is {arguments[-1]};" in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ("report",),
        ("cost", "test_resnet"),
        ("compare", "a", "b"),
        ("models",),
        ("predict", "a.jpg"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_unknown_suffix_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run_bench(tmp_path, *arguments, "-o", "x.pt2")
    assert done.code == 2
    assert "-o x.pt2: unknown suffix; use one of ." in done.err
    assert not list(tmp_path.iterdir())


def test_format_decides_if_the_suffix_is_unknown(tmp_path: Path) -> None:
    done = run_bench(tmp_path, "cost", "test_resnet", "--format", "csv", "-o", "costs.txt")
    assert done.code == 0, done.err
    assert (tmp_path / "costs.txt").read_text().startswith("architecture,")


def test_the_suffix_of_a_cost_table_chooses_its_format(tmp_path: Path) -> None:
    for output in ("costs.csv", "costs.json"):
        done = run_bench(tmp_path, "cost", "test_resnet", "-o", output)
        assert done.code == 0, done.err
    assert (tmp_path / "costs.csv").read_text().startswith("architecture,")
    assert json.loads((tmp_path / "costs.json").read_text())
