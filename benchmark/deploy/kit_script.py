"""Measure the models of this kit on this device: python kit.zip --name DEVICE

Needs Python 3.8, numpy and onnxruntime; measures OpenVINO and decoding too where openvino and
pillow are installed. Writes one JSON file for `bench deploy --add`. Unpacks and sends nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

KIT = os.path.dirname(os.path.abspath(__file__))  # the zip file
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


def read(name: str, sha256: str = "") -> bytes:
    """Read a member of the kit; exits if its name is unsafe or its content has changed."""
    if not SAFE.fullmatch(name) or ".." in name:
        sys.exit(f"kit: {name!r} is not a name of a file in a kit; pack the kit again")
    try:
        with zipfile.ZipFile(KIT) as archive:
            content = archive.read(name)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        sys.exit(f"kit: {name}: cannot be read: {error}; copy the kit again")
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        sys.exit(f"kit: {name}: has changed since the kit was packed; pack the kit again")
    return content


def load(artifact: dict[str, Any], threads: int) -> tuple[Callable[[Any], Any], str]:
    """Return the function that predicts a batch of images, and the runtime's version."""
    files = {name: read(*member) for name, member in artifact["files"].items()}
    if artifact["runtime"] == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        cpu = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(files["model.onnx"], options, providers=cpu)
        version = f"onnxruntime {onnxruntime.__version__}"
        return lambda images: session.run(["probabilities"], {"images": images})[0], version
    import openvino

    core = openvino.Core()
    weights = openvino.Tensor(np.frombuffer(files["model.bin"], dtype=np.uint8).copy())
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    model = core.read_model(files["model.xml"], weights)
    compiled = core.compile_model(model, "CPU", {**hints, "INFERENCE_NUM_THREADS": threads})
    request = compiled.create_infer_request()
    version = f"openvino {openvino.__version__.partition('-')[0]}"
    return lambda images: request.infer({"images": images}, share_inputs=True)[0], version


def peak_bytes() -> int:
    """Return the maximum resident memory of this process; 0 where it is not known."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    except OSError:
        return 0


def repeat(works: list[Callable[[], Any]], min_s: float, max_s: float) -> list[float]:
    """Return the milliseconds of each call of the functions in turn, after a warm-up."""
    for work in 10 * works[:1]:
        work()
    times: list[float] = []
    while (sum(times) < min_s or len(times) < 10) and len(times) < 1000 and sum(times) < max_s:
        started = time.perf_counter()
        works[len(times) % len(works)]()
        times.append(time.perf_counter() - started)
    return [1e3 * seconds for seconds in times]


def measure(run: dict[str, Any], artifact: dict[str, Any], threads: int) -> dict[str, Any]:
    """Measure one artifact in this process."""
    images = np.load(io.BytesIO(read(*run["images"])), allow_pickle=False)
    singles = [np.ascontiguousarray(images[i : i + 1]) for i in range(min(8, len(images)))]
    memory, started = peak_bytes(), time.perf_counter()
    predict, version = load(artifact, threads)
    predict(singles[0])
    load_s = time.perf_counter() - started
    latency = repeat([partial(predict, image) for image in singles], 3.0, 10.0)
    memory = peak_bytes() - memory
    throughput = {1: 1e3 * len(latency) / sum(latency)}
    for batch in (4, 16, 64):
        many = np.resize(images, (batch, *images.shape[1:]))
        times = repeat([partial(predict, many)], 0.5, 3.0)
        before, throughput[batch] = max(throughput.values()), 1e3 * batch * len(times) / sum(times)
        if throughput[batch] < 1.05 * before:
            break
    predictions = np.concatenate([predict(images[i : i + 16]) for i in range(0, len(images), 16)])
    return {
        "runtime": version,
        "load_s": load_s,
        "memory_bytes": memory,
        "latency_ms": latency,
        "encoded_ms": from_files(predict, run, images.shape[1]),
        "throughput": throughput,
        "predictions": [[round(float(value), 6) for value in row] for row in predictions],
    }


def from_files(predict: Callable[[Any], Any], run: dict[str, Any], size: int) -> list[float]:
    """Return the milliseconds from an encoded image to a prediction; empty without pillow."""
    try:
        from PIL import Image
    except ImportError:
        return []

    def decode(content: bytes) -> None:
        image = Image.open(io.BytesIO(content)).convert("RGB")
        predict(np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))[None])

    return repeat([partial(decode, read(*member)) for member in run["encoded"]], 1.0, 4.0)


def describe_device(name: str) -> dict[str, Any]:
    """Describe this device."""
    processor = platform.processor() or platform.machine() or "unknown"
    if os.path.exists("/proc/cpuinfo"):  # Linux
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            match = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", file.read(), re.MULTILINE)
        processor = match[1] if match else processor
    return {"name": name, "processor": processor[:300], "system": platform.platform()[:300]}


def measure_apart(run: dict[str, Any], artifact: dict[str, Any], threads: int) -> dict[str, Any]:
    """Measure in a separate process, so that a crash of a runtime only ends that process."""
    command = [sys.executable, KIT, "--only", run["run_id"], artifact["variant"]]
    done = subprocess.run([*command, "--threads", str(threads)], capture_output=True)
    ids = {"run_id": run["run_id"], "variant": artifact["variant"], "artifact": artifact["sha256"]}
    try:
        return {**ids, **json.loads(done.stdout)}
    except ValueError:
        last = done.stderr.decode(errors="replace").strip().split("\n")[-1]
        return {**ids, "error": f"process ended with code {done.returncode}: {last}"[:250]}


def latency(result: dict[str, Any]) -> float:
    """Return the median latency in milliseconds; infinite after an error, which is not retried."""
    return float(np.median(result.get("latency_ms", np.inf)))


def is_steady(rounds: list[dict[str, Any]]) -> bool:
    """Return whether the two lowest latencies of several rounds agree within 5 %."""
    lowest = sorted(map(latency, rounds))[:2]
    return np.inf in lowest or (len(lowest) == 2 and lowest[1] <= 1.05 * lowest[0])


def main() -> None:
    """Measure every artifact, and write the result."""
    cores = len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0))
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    needed = "--only" not in sys.argv
    parser.add_argument("--name", required=needed, help="of this device, such as raspberry-pi-5")
    parser.add_argument("--threads", type=int, default=cores, help="threads of each runtime")
    parser.add_argument("-o", "--output", default="result.json", help="file to write")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    content = read("kit.json")
    pairs = [(run, item) for run in json.loads(content)["runs"] for item in run["artifacts"]]
    if options.only:
        run, item = next(p for p in pairs if [p[0]["run_id"], p[1]["variant"]] == options.only)
        json.dump(measure(run, item, options.threads), sys.stdout)
        return
    for run, item in pairs:  # all files first
        for member in (run["images"], *run["encoded"], *item["files"].values()):
            read(*member)
    rounds: list[list[dict[str, Any]]] = [[] for _ in pairs]
    for _ in range(4):
        for (run, item), results in zip(pairs, rounds):  # noqa: B905, for Python 3.8
            if not is_steady(results):
                results.append(measure_apart(run, item, options.threads))
                state = results[-1].get("error", f"{latency(results[-1]):.2f} ms")
                print(f"{run['name']}, {item['variant']}: {state}", file=sys.stderr, flush=True)
    device = {**describe_device(options.name), "cores": cores, "threads": options.threads}
    head = {"version": 1, "kit": hashlib.sha256(content).hexdigest(), "device": device}
    with open(options.output, "w", encoding="utf-8") as file:
        json.dump({**head, "results": [min(results, key=latency) for results in rounds]}, file)
    print(f"written to {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
