"""What a study looks like on real terminals of several sizes, in a pipe, and when it is stopped."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.terminal.output import print_table
from tests.benchmark.conftest import TINY, StudyRun
from tests.benchmark.pseudo_terminal import Shown, run_in_terminal

RUNS = ("test_resnet-s0", "test_efficientnet-s0")
LONG = (
    *("--epochs", "2000", "--set", "model.mode=finetune", "--set", "train.patience=null"),
    *("--set", "model.standardize_features=false"),
)
"""Runs that do not end while a test looks at them."""
COLOUR = re.compile(rb"\x1b\[(?:[\d;]*;)?(?:3\d|4\d|9\d|10\d)(?:;[\d;]*)?m")
TITLES = re.compile(r"run +state .*valid .*left")


def on_terminal(
    folder: Path,
    *arguments: str,
    size: tuple[int, int] = (80, 24),
    **options: object,
) -> Shown:
    (folder / "tiny.yaml").write_text(TINY)
    return run_in_terminal([*arguments, "-c", "tiny.yaml"], folder, size, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "width",
    [80, pytest.param(120, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.slow)],
)
def test_a_study_draws_one_table_and_leaves_a_line_for_each_run(tmp_path: Path, width: int) -> None:
    shown = on_terminal(tmp_path, "run", "--all", size=(width, 30))
    text = "\n".join(shown.scrollback)
    assert shown.code == 0, text
    assert shown.widest <= width
    assert not shown.cursor_hidden
    assert COLOUR.search(shown.raw)
    assert "Traceback" not in text
    for number, name in enumerate(RUNS, 1):
        assert re.search(rf"\[{number}/2\] {name}: test accuracy \d+\.\d\d %, best epoch \d", text)
    # While the first runs, the second waits.
    first = shown.frames_with(f"  {RUNS[0]} ", f"  {RUNS[1]} ", "waiting", "0 of 2 runs done")
    assert first
    assert any(TITLES.search("\n".join(frame)) for frame in first)
    assert shown.frames_with("1 of 2 runs done")
    # The table is gone, and the report's table is there.
    assert not TITLES.search(text)
    assert "runs done" not in text
    assert re.search(r"architecture .*status", text)
    for name in ("test_resnet", "test_efficientnet"):
        assert re.search(rf"^ +{name} .* finished", text, re.MULTILINE)


def test_no_color_is_honoured(tmp_path: Path) -> None:
    """The same table, without a single colour."""
    shown = on_terminal(tmp_path, "run", "test_resnet", environment={"NO_COLOR": "1"})
    assert shown.code == 0
    assert shown.frames_with("0 of 1 runs done")
    assert b"\x1b[" in shown.raw
    assert not COLOUR.search(shown.raw)
    assert not shown.cursor_hidden


@pytest.mark.slow
def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, "run", "test_resnet", environment={"TERM": "dumb"})
    assert shown.code == 0
    assert b"\x1b" not in shown.raw
    text = "\n".join(shown.scrollback)
    assert "epoch 2/2: loss" in text
    assert "runs done" not in text


def test_a_pipe_gets_a_line_for_each_epoch_and_no_code(tiny_study: StudyRun) -> None:
    said = tiny_study.first
    assert "\x1b" not in said.out + said.err
    assert said.err.count("  epoch 1/2: loss") == said.err.count("  epoch 2/2: loss") == 2
    assert "images/s" not in said.err  # heads on cached features: no speed of the networks
    for number, name in enumerate(RUNS, 1):
        assert f"[{number}/2] {name}: frozen, weights random" in said.err
    assert "runs done" not in said.err


def test_ctrl_c_leaves_a_clean_terminal(tmp_path: Path) -> None:
    """Typed into the terminal while two runs execute and a third waits."""
    typed = False

    def stop(shown: Shown) -> bytes:
        nonlocal typed
        frame = "\n".join(shown.frames[-1])
        if typed or len(re.findall(r"epoch \d+/2000 .* \d+\.\d %", frame)) < 2:
            return b""
        typed = True
        return b"\x03"

    asked = ("run", "--all", "--workers", "2", "--seed", "0", "--seed", "1", *LONG)
    shown = on_terminal(tmp_path, *asked, keys=stop)
    text = "\n".join(shown.scrollback)
    assert typed, text
    assert shown.code == 130
    assert not shown.cursor_hidden
    assert not TITLES.search(text)
    assert "runs done" not in text
    assert re.search(r"\[1/4\] test_resnet-s0: stopped", text)
    assert re.search(r"\[2/4\] test_resnet-s1: stopped", text)
    assert "bench: Interrupted. Progress is saved" in text
    assert shown.widest <= 80


def test_what_fails_is_reported_above_the_table(tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, "run", "--all", "--set", "train.learning_rate=1e38")
    text = "\n".join(shown.scrollback)
    assert shown.code == 1
    for number, name in enumerate(RUNS, 1):
        assert f"[{number}/2] {name}: failed in train: the training loss is not finite" in text
    assert text.count("see the log in") == 2
    assert shown.frames_with("failed in train", "0 of 2 runs done, 1 failed")
    assert shown.widest <= 80


@pytest.mark.slow
def test_runs_measured_at_the_end_are_counted_until_then(tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, "run", "--all", "--workers", "2", "--set", "measure=true")
    assert shown.code == 0
    assert shown.frames_with("to be measured")
    assert shown.frames_with("measure", "1 of 2 runs done")
    text = "\n".join(shown.scrollback)
    assert all(f"{name}: test accuracy" in text for name in RUNS)


class Screen(io.StringIO):
    """Takes text as a terminal would."""

    def isatty(self) -> bool:
        return True


COLUMNS = ("architecture", "mode", "weights", "accuracy", "MACs", "parameters", "status")
ROWS = [
    ["efficientnet_b0", "frozen", "random", "87.12 % ± 0.31", "0.106 G", "4.02 M", "finished"],
    [
        "vgg16",
        "-",
        "-",
        "-",
        "-",
        "-",
        "failed in train: out of memory, even with one image",
    ],
]


def printed(width: int, *drop_first: str) -> list[str]:
    screen = Screen()
    console = Console(file=screen, width=width, color_system=None)
    print_table(console, COLUMNS, ROWS, "a study", drop_first)
    return screen.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_a_printed_table_is_cut_by_columns_not_by_cells(width: int) -> None:
    """What is shown is whole and in one line; what is not is named below."""
    lines = printed(width)
    text = "\n".join(lines)
    assert all(len(line) <= width for line in lines)
    (titles,) = (line for line in lines if "architecture" in line and "status" in line)
    missing = re.findall(r"hidden columns \(terminal too narrow\): (.+)", " ".join(lines))
    dropped = re.findall("[a-zA-Z]+", missing[0]) if missing else []
    assert [name for name in COLUMNS if name in titles.split()] == [
        name for name in COLUMNS if name not in dropped
    ]
    assert dropped == [name for name in COLUMNS[1:-1] if name in dropped]
    for name, cell in zip(COLUMNS, ROWS[0], strict=True):
        assert (cell in text) is (name not in dropped)
    # From the right.
    assert dropped == list(COLUMNS[6 - len(dropped) : 6])
    assert bool(dropped) is (width < 100)


def test_a_caller_says_which_columns_go_first() -> None:
    (titles,) = (line for line in printed(80, "mode", "weights") if "status" in line)
    assert titles.split() == ["architecture", "accuracy", "MACs", "parameters", "status"]


def test_figures_stand_below_each_other_at_the_decimal_point() -> None:
    columns = ("architecture", "accuracy", "MACs", "time", "seed")
    rows = [
        ["vgg16", "9.5 % ± 0.31", "3.957 G", "1,204 s", "0"],
        ["tiny", "87.12 %", "0.0004 G", "-", "10"],
        ["large", "100.00 % ± 0.0", "12.1 G", "98 s", "7"],
    ]
    screen = Screen()
    print_table(Console(file=screen, width=120, color_system=None), columns, rows, bold={1})
    lines = screen.getvalue().splitlines()
    shown = [line for line in lines if re.match(r" +(vgg16|tiny|large) ", line)]
    assert len(shown) == 3
    for figures in (("9.5", "87.12", "100.00"), ("3.957", "0.0004", "12.1")):
        ends = {
            line.index(f" {one}") + one.index(".") for line, one in zip(shown, figures, strict=True)
        }
        assert len(ends) == 1, figures
    assert len({line.rindex(f"{seed} ") for line, seed in zip(shown, "007", strict=True)}) == 1
    (titles,) = (line for line in lines if "MACs" in line)
    assert titles.index("accuracy") + len("accuracy") == shown[0].index("± 0.31") + len("± 0.31")


def test_a_piped_table_is_whole() -> None:
    pipe = io.StringIO()
    print_table(Console(file=pipe, width=200), COLUMNS, ROWS)
    lines = pipe.getvalue().splitlines()
    assert all(any(cell in line for line in lines) for row in ROWS for cell in row)
    assert "not shown" not in pipe.getvalue()


def test_cells_are_text_and_obeyed_by_no_terminal() -> None:
    screen = Screen()
    rows = [["[red]a[/red]", "b\x1b[2Jc\nd"]]
    console = Console(file=screen, width=80, color_system=None)
    print_table(console, ("name", "status"), rows, "[bold]e")
    text = screen.getvalue()
    assert "\x1b" not in text
    for part in ("[red]a[/red]", "b\\x1b[2Jc\\nd", "[bold]e"):
        assert part in text
