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
from clothclf.process.answer import answer_question


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    """Build the files of one variant; returns an `answer` or an `error`."""
    warnings.simplefilter("ignore")
    os.environ["NNCF_CI"] = "1"  # it sends no telemetry where this is set
    from benchmark.deploy.variants import find_variant

    try:
        runtime = find_variant(question["variant"]).runtime()
        runtime.build(_context(question), Path(question["folder"]))
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:  # libraries raise arbitrary exceptions
        return {"error": f"{type(error).__name__}: {first_line(error)}"}
    return {"answer": {"title": runtime.title, "precision": runtime.precision}}


def _context(question: dict[str, Any]) -> Any:
    from benchmark.deploy.base import BuildContext
    from benchmark.deploy.images import all_images, calibration_images
    from benchmark.deploy.network import inference_network
    from benchmark.export.card import card
    from benchmark.runs.find import open_run
    from benchmark.runs.inputs import open_splits

    found = open_run(Path(question["run"]))
    spec = found.record.spec
    onnx = question["onnx"]

    def split(name: str) -> Any:
        return open_splits(spec, found.folder, lambda note: print(note, file=sys.stderr))[name]

    return BuildContext(
        network=lambda: inference_network(found),
        onnx=None if onnx is None else Path(onnx),
        card=card(found.record),
        image_size=spec.image_size,
        calibration=lambda: calibration_images(split("train"), spec.seed),
        validation=lambda: all_images(split("valid")),
        max_drop=question["max_drop"],
    )


if __name__ == "__main__":
    answer_question(_answer)
