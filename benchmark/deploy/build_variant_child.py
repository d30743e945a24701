"""Building process: reads a request from standard input and writes the variant's files.

Request and answer are JSON. A crash of a library ends this process only.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

from clothclf.errors import UserError, first_line
from clothclf.process.respond import serve_request


def _handle(request: dict[str, Any]) -> dict[str, Any]:
    """Build the files of one variant; returns a `result` or an `error`."""
    warnings.simplefilter("ignore")
    os.environ["NNCF_CI"] = "1"  # it sends no telemetry where this is set
    from benchmark.deploy.variants import find_variant

    try:
        runtime = find_variant(request["variant"]).runtime()
        runtime.build(_context(request), Path(request["folder"]))
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:  # libraries raise arbitrary exceptions
        return {"error": f"{type(error).__name__}: {first_line(error)}"}
    return {"result": {"title": runtime.title, "precision": runtime.precision}}


def _context(request: dict[str, Any]) -> Any:
    from benchmark.deploy.base import BuildContext
    from benchmark.deploy.images import all_images, calibration_images
    from benchmark.deploy.inference_network import inference_network
    from benchmark.export.model_card import card
    from benchmark.runs.find import open_run
    from benchmark.runs.inputs import open_splits

    run = open_run(Path(request["run"]))
    spec = run.record.spec
    onnx = request["onnx"]

    def split(name: str) -> Any:
        return open_splits(spec, run.folder, lambda note: print(note, file=sys.stderr))[name]

    return BuildContext(
        network=lambda: inference_network(run),
        onnx=None if onnx is None else Path(onnx),
        card=card(run.record),
        image_size=spec.image_size,
        calibration=lambda: calibration_images(split("train"), spec.seed),
        validation=lambda: all_images(split("valid")),
        max_drop=request["max_drop"],
    )


if __name__ == "__main__":
    serve_request(_handle)
