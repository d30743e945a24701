"""Instructions of this machine's processor that low precisions need to be fast."""

from __future__ import annotations

import platform
from pathlib import Path

from benchmark.runs.deployments import Device
from benchmark.runs.environment import processor_name
from clothclf.cost.measure.busy import usable_cores

NEEDED = {
    "int8": (
        ("avx_vnni", "avx512_vnni", "amx_int8", "asimddp"),
        "this processor has no int8 dot products (VNNI, AMX or DotProd): int8 may be slow, and "
        "may saturate and predict other classes",
    ),
    "bfloat16": (
        ("avx512_bf16", "amx_bf16", "bf16"),
        "this processor has no bfloat16 arithmetic (AVX512_BF16, AMX or BF16): it is emulated",
    ),
}
"""Flags of /proc/cpuinfo, of which one is needed, and the consequence of having none."""
CPU_INFO = Path("/proc/cpuinfo")


def instruction_note(precision: str, cpu_info: Path = CPU_INFO) -> str:
    """Sentence on missing instructions for a precision; empty if none is missing or known."""
    flags, note = NEEDED.get(precision, ((), ""))
    known = _flags(cpu_info)
    return note if known and flags and not known.intersection(flags) else ""


def _flags(cpu_info: Path) -> set[str]:
    try:
        lines = cpu_info.read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return set()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):  # x86, ARM
            return set(value.split())
    return set()


def this_device(name: str, threads: int) -> Device:
    """Describe this machine under a name that the user chose."""
    return Device(
        name=name,
        processor=processor_name()[:300] or "unknown",
        system=platform.platform()[:300],
        cores=len(usable_cores()),
        threads=threads,
    )
