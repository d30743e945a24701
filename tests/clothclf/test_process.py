"""Child processes end with the one that started them, and a fork is like a new interpreter."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clothclf.process.command import module_command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it takes a second")

STARTER = """\
import subprocess, sys, time
from clothclf.process.command import module_command
child = subprocess.Popen(module_command("sleeper"), start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
SLEEPER = "import sys, time\nprint(__name__, *sys.argv[1:], flush=True)\ntime.sleep(600)\n"


def finding(folder: Path) -> dict[str, str]:
    """An environment in which Python finds the modules of a folder."""
    return {**os.environ, "PYTHONPATH": str(folder)}


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_a_module_runs_as_by_python_itself(tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text("import sys\nprint(__name__, *sys.argv[1:])\nsys.exit(7)\n")
    done = subprocess.run(
        module_command("told", "--a", "b c"),
        env=finding(tmp_path),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (7, "__main__ --a b c\n"), done.stderr


@pytest.mark.parametrize("wait_s", [0.0, 0.02, 0.1, 1.0])
def test_it_dies_with_its_parent(tmp_path: Path, wait_s: float) -> None:
    """From the first moment on: it does not begin what takes long to import."""
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], env=finding(tmp_path), stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(wait_s)
        parent.kill()
    end = time.monotonic() + 5
    while is_alive(child):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_ends_at_once_where_its_parent_is_missing_already(tmp_path: Path) -> None:
    """Its parent is no longer the process that started it."""
    (tmp_path / "told.py").write_text("print('begun')\n")
    command = module_command("told")
    command[command.index(str(os.getpid()))] = "1"
    done = subprocess.run(command, env=finding(tmp_path), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, ""), done.stderr


SERVER = """\
import json, os, sys, time
from clothclf.process import fork_client
from clothclf.process.start import run_module, start_module
fork_client.PRELOAD[:] = ["colorsys"]

def run(module, *arguments, stdin="", timeout_s=60, **variables):
    environment = {**os.environ, **variables}
    return run_module(
        module, *arguments, stdin=stdin, environment=environment, timeout_s=timeout_s
    )
"""
CHILD = """\
import json, os, sys
print(json.dumps({
    "name": __name__, "arguments": sys.argv[1:], "stdin": sys.stdin.read(),
    "folder": os.getcwd(), "path": sys.path[0], "variable": os.environ.get("VARIABLE"),
    "leader": os.getsid(0) == os.getpid(), "loaded": "colorsys" in sys.modules,
    "parent": os.getppid(), "open": len(os.listdir("/proc/self/fd")),
}))
print("noted", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


def run_code(folder: Path, code: str, **variables: str) -> list[dict[str, object]]:
    """Run code after SERVER in a new interpreter; return the JSON lines that it prints."""
    (folder / "child.py").write_text(CHILD)
    done = subprocess.run(
        [sys.executable, "-c", SERVER + code],
        env={**finding(folder), **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


TWICE = """
for number in ("3", "4"):
    done = run("child", number, "b c", stdin="asked", VARIABLE="set")
    print(json.dumps({**json.loads(done.stdout), "code": done.returncode, "log": done.stderr}))
print(json.dumps({"me": os.getpid()}))
"""


def test_a_fork_is_like_a_new_interpreter(tmp_path: Path) -> None:
    """In all but its parent, and in what is imported already."""
    *forked, _ = run_code(tmp_path, TWICE)
    *spawned, me = run_code(tmp_path, TWICE, BENCH_START_METHOD="spawn")
    assert [child.pop("loaded") for child in (*forked, *spawned)] == [True, True, False, False]
    assert {child.pop("parent") for child in spawned} == {me["me"]}
    server = {child.pop("parent") for child in forked}
    assert len(server) == 1
    extra = {child.pop("open") for child in forked}, {child.pop("open") for child in spawned}
    assert extra == ({5}, {4})  # a fork keeps the connection to the server, for its own children
    assert forked == spawned
    assert [child["code"] for child in forked] == [3, 4]
    assert (forked[0]["name"], forked[0]["arguments"]) == ("__main__", ["3", "b c"])
    assert (forked[0]["stdin"], forked[0]["log"]) == ("asked", "noted\n")


def test_other_libraries_need_a_new_interpreter(tmp_path: Path) -> None:
    """What is read when a library is loaded cannot be changed in a fork."""
    code = "\nfor v in ({}, {'HF_ENDPOINT': 'x'}): print(run('child', '0', **v).stdout, end='')\n"
    result = [child["loaded"] for child in run_code(tmp_path, code)]
    assert result == [True, False]


def test_each_end_of_a_fork_is_seen(tmp_path: Path) -> None:
    """Exit codes, exceptions, signals and timeouts, in several threads at once."""
    (tmp_path / "ends.py").write_text(
        "import os, sys, time\n"
        "how = sys.argv[1]\n"
        "if how == 'raise': raise ValueError('broken')\n"
        "if how == 'text': sys.exit('a reason')\n"
        "if how == 'sleep': time.sleep(600)\n"
        "if how != 'end': os.kill(os.getpid(), int(how))\n"
    )
    code = """
import subprocess
from concurrent.futures import ThreadPoolExecutor
def end(how):
    try:
        done = run("ends", how, timeout_s=2)
    except subprocess.TimeoutExpired:
        return [how, "timeout", ""]
    return [how, done.returncode, done.stderr.strip().splitlines()[-1:]]
with ThreadPoolExecutor(8) as pool:
    ends = list(pool.map(end, ["end", "raise", "text", "sleep", "9", "11", "15", "40"]))
print(json.dumps({"ends": ends}))
"""
    (result,) = run_code(tmp_path, code)
    assert result["ends"] == [
        ["end", 0, []],
        ["raise", 1, ["ValueError: broken"]],
        ["text", 1, ["a reason"]],
        ["sleep", "timeout", ""],
        ["9", -9, []],
        ["11", -11, []],
        ["15", -15, []],
        ["40", -40, []],
    ]


@pytest.mark.parametrize("victim", ["server", "starter", "child"])
def test_a_killed_process_leaves_nothing_behind(tmp_path: Path, victim: str) -> None:
    """A child ends with its server and with who started it, and what it started with it."""
    (tmp_path / "family.py").write_text(
        "import os, subprocess, sys, time\n"
        "own = subprocess.Popen(['sleep', '600'])\n"
        "print(os.getppid(), os.getpid(), own.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    code = """
process = start_module("family", environment=os.environ, stdout=1)
code = process.wait()
again = run("child", "0")
print(code, json.loads(again.stdout)["loaded"], flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER + code],
        env=finding(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        (tmp_path / "child.py").write_text(CHILD)
        assert starter.stdout is not None
        server, child, own = map(int, starter.stdout.readline().split())
        os.kill({"server": server, "starter": starter.pid, "child": child}[victim], signal.SIGKILL)
        if victim != "starter":
            assert starter.stdout.readline() == "-9 True\n"
        missing = [child, own] if victim == "child" else [child]
        end = time.monotonic() + 5
        while any(is_alive(process) for process in missing):
            assert time.monotonic() < end
            time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.kill(own, signal.SIGKILL)


@pytest.mark.parametrize(("deaths", "code"), [(1, 0), (2, -9)])
def test_what_ends_with_its_server_runs_again_once(tmp_path: Path, deaths: int, code: int) -> None:
    """With the same input, in a fork of a new server; not again and again."""
    (tmp_path / "killer.py").write_text(
        "import os, pathlib, sys, time\n"
        "log = pathlib.Path('log')\n"
        "with log.open('a') as file: file.write(sys.stdin.read())\n"
        "if len(log.read_text()) <= int(sys.argv[1]):\n"
        "    os.kill(os.getppid(), 9)\n"
        "    time.sleep(600)\n"
        "print('done', 'colorsys' in sys.modules)\n"
    )
    code_text = f"""
done = run("killer", "{deaths}", stdin="x")
print(json.dumps({{"code": done.returncode, "out": done.stdout, "log": open("log").read()}}))
"""
    (result,) = run_code(tmp_path, code_text)
    out = "done True\n" if code == 0 else ""
    assert result == {"code": code, "out": out, "log": "xx"}


def test_children_leave_no_descriptor_and_no_process(tmp_path: Path) -> None:
    code = """
def count(pid): return len(os.listdir(f"/proc/{pid}/fd"))
first = json.loads(run("child", "0").stdout)
run("child", "0"), time.sleep(0.2)
before = count("self"), count(first["parent"])
for _ in range(100):
    last = json.loads(run("child", "0").stdout)
time.sleep(0.2)  # the server closes its end last
children = open(f"/proc/{first['parent']}/task/{first['parent']}/children").read()
print(json.dumps({
    "before": before, "after": [count("self"), count(first["parent"])], "children": children,
    "own": [first["open"], last["open"]],
}))
"""
    (result,) = run_code(tmp_path, code)
    assert result["after"] == result["before"]
    assert result["children"] == ""
    assert len(set(result["own"])) == 1  # type: ignore[call-overload]


def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """Linux sends the signal of a parent's death when the thread ends that forked."""
    code = """
import threading
found = []
thread = threading.Thread(target=lambda: found.append(json.loads(run("child", "0").stdout)))
thread.start()
thread.join()
time.sleep(0.5)
print(json.dumps({"parents": [found[0]["parent"], json.loads(run("child", "0").stdout)["parent"]]}))
"""
    (result,) = run_code(tmp_path, code)
    first, second = result["parents"]  # type: ignore[misc]
    assert first == second


def test_a_server_that_is_still_importing_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "slow_import.py").write_text(
        "import os, pathlib, time\n"
        "pathlib.Path(__file__).with_name('pid').write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    code = 'fork_client.preload("slow_import")\nwhile not os.path.exists("pid"): time.sleep(0.05)\n'
    run_code(tmp_path, code)
    end = time.monotonic() + 5
    while is_alive(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < end
        time.sleep(0.05)
