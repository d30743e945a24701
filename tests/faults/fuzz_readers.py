"""Coverage-guided fuzzing of the readers of tables, archives and parquet, with Atheris (libFuzzer).

    pip install -e '.[fuzz]' && python -m tests.faults.fuzz_readers --seconds 600

Runs in a separate process, with limits on memory and on time per input. Ends with one sentence:
what was tried, or which input fails and where it is saved.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MEMORY_BYTES = 4 * 2**30
SECONDS_PER_INPUT = 10
MAX_INPUT_BYTES = 4096
TABLE, ARCHIVE, PARQUET = b"T", b"Z", b"P"
"""First byte of an input, which selects the reader."""


def seeds() -> list[bytes]:
    """Seed corpus: tables, archives and parquet files, valid and malformed."""
    head = "id,articleType,name\n"
    rows = (
        head + '1,Tops,one\n2,Shirts,"two, too"\n3,Caps,"a\nb"\n../4,Tops\n\n5,Tops,"open\n6,A,b\n'
    )
    tables = [rows.encode(code) for code in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le")]
    tables += [b"", head.encode(), rows.replace("\n", "\r\n").encode(), b"id,id\n1,2\n", b"\0id\n"]
    archives = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        for root in ("", "top/"):
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w", method) as archive:
                archive.writestr(f"{root}styles.csv", "id,articleType\n1,A\n2,B\n")
                archive.writestr(f"{root}images/1.jpg", b"x" * 40)
                archive.writestr(f"{root}images/2.png", b"y")
            archives.append(file.getvalue())
    return [
        *(TABLE + table for table in tables),
        *(ARCHIVE + content for content in archives),
        *(PARQUET + content for content in _parquet_seeds()),
    ]


def _parquet_seeds() -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [{"bytes": b"x" * 40, "path": None}, None]
    table = pa.table({"id": [1, 2], "articleType": ["A", "B"], "image": cells})
    result = []
    for options in ({}, {"compression": "zstd", "data_page_version": "2.0"}):
        for whole in (True, False):
            file = io.BytesIO()
            pq.write_table(table, file, store_schema=whole, use_dictionary=whole, **options)
            result.append(file.getvalue())
    return result


def read(content: bytes, place: Path) -> None:
    """Pass an input to its reader; it may only raise UserError."""
    from clothclf.data.sources.hub_source import HubSource
    from clothclf.data.sources.kaggle_source import KaggleSource
    from clothclf.data.sources.listing import Query
    from clothclf.data.sources.selection import choose
    from clothclf.data.sources.table import read_table
    from clothclf.errors import UserError

    kind, content = content[:1], content[1:]
    try:
        if kind not in (ARCHIVE, PARQUET):
            table = read_table(content, "t.csv", key="id")
            _demand(all(len(row) == len(table.columns) for row in table.rows), "a ragged row")
            _demand(table.lines == sorted(table.lines), "lines out of order")
            return
        place.write_bytes(content)
        source = HubSource(place) if kind == PARQUET else KaggleSource(place)
        expected = Query("articleType")
        listing = choose(source.list_images(expected), expected, source.title)
        dropped = sum(finding.action == "dropped" for finding in listing.findings)
        _demand(listing.rows_read == len(listing.rows) + dropped, "a row without account")
    except UserError as error:
        _demand("\n" not in str(error), "a message of several lines")
        return
    for image_id in listing.rows["id"]:
        try:
            source.read_bytes(image_id)
        except UserError:
            continue


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def fuzz(folder: Path, options: list[str]) -> None:
    """Fuzz until libFuzzer's limits are reached; this ends the process."""
    import atheris

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))
    # Imported before instrumentation, so that loading them does not count as new coverage.
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    with atheris.instrument_imports(include=["clothclf.data"], enable_loader_override=False):
        import clothclf.data.sources.hub_source
        import clothclf.data.sources.kaggle_source  # noqa: F401

    place = folder / "input.zip"
    corpus = folder / "corpus"
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda content: read(content, place))
    atheris.Fuzz()


def supervise(seconds: int, seed: int, keep: Path) -> int:
    """Run the fuzzer in a separate process; describe in one sentence how it ended."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = folder / "corpus"
        corpus.mkdir()
        for number, content in enumerate(seeds()):
            (corpus / f"seed{number}").write_bytes(content)
        options = [
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            f"-timeout={SECONDS_PER_INPUT}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-rss_limit_mb={MEMORY_BYTES // 2**20}",
            f"-artifact_prefix={folder}/found-",
            "-print_final_stats=1",
        ]
        command = [sys.executable, "-m", "tests.faults.fuzz_readers", "--child", name, *options]
        try:
            done = subprocess.run(command, capture_output=True, timeout=seconds + 120, check=False)
        except subprocess.TimeoutExpired:
            print(f"the fuzzer did not end {120} seconds after its time; seed {seed}")
            return 1
        log = done.stderr.decode("utf-8", "replace") + done.stdout.decode("utf-8", "replace")
        result = sorted(folder.glob("found-*"))
        for file in result:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, keep / file.name)
        print(_sentence(log, [keep / file.name for file in result], done.returncode, seed))
        return int(bool(result) or done.returncode != 0)


def _sentence(log: str, found: list[Path], code: int, seed: int) -> str:
    if found:
        raised = re.search(r"Uncaught Python exception: ===\s*\n(.*)", log)
        limit = re.search(r"ERROR: libFuzzer: (\S+)", log)
        why = raised[1] if raised else limit[1] if limit else f"exit code {code}"
        return f"found: {why}; the input is kept in {found[0]} (seed {seed})"
    if code:
        last = (log.strip().splitlines() or ["nothing was said"])[-1]
        return f"the fuzzer failed with exit code {code}: {last}"
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", log)
    cover = [(int(a), int(b)) for a, b in re.findall(r"cov: (\d+) ft: (\d+)", log)]
    (cov, features), (last_cov, last_features) = (cover or [(0, 0)])[0], (cover or [(0, 0)])[-1]
    return (
        f"nothing found in {int(runs[1]) if runs else 0:,} inputs (seed {seed}): coverage "
        f"{cov} to {last_cov} places, {features} to {last_features} features"
    )


def main() -> int:
    """Parse the command line; return the exit code."""
    if sys.argv[1:2] == ["--child"]:
        fuzz(Path(sys.argv[2]), sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz_readers")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"), help="folder of findings")
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install -e '.[fuzz]'", file=sys.stderr)
        return 2
    return supervise(arguments.seconds, arguments.seed, arguments.keep.absolute())


if __name__ == "__main__":
    sys.exit(main())
