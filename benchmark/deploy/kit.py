"""Pack measured variants into a zip file that measures them on another device."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.deploy import kit_script
from benchmark.deploy.base import Images
from benchmark.deploy.deploy import DeployedRun
from benchmark.deploy.images import ENCODED_IMAGES, as_jpeg, encoded_images
from benchmark.deploy.kit_files import KIT, SCRIPT, Expected, Kit, KitArtifact, KitRun, PackedKit
from benchmark.deploy.measure_variant import predict_with
from benchmark.deploy.variants import VARIANTS, PackedRuntime
from benchmark.errors import DeployError
from benchmark.runs.deployments import KITS, Artifact, Deployments
from benchmark.runs.find import FinishedRun
from benchmark.runs.inputs import open_splits
from benchmark.runs.run_folder import RunFolder
from clothclf.cost.measure.busy import usable_cores
from clothclf.data.atomic import output_file

IMAGES = 64
"""Number of images in a kit."""


def pack(runs: Sequence[DeployedRun], path: Path, images: str) -> int:
    """Write a kit with the variants of runs that were measured here; return their number.

    `images` is `drawn`, or `real` for images of the runs' test splits. Data to verify the results
    is stored with each run. Raises DeployError if there is nothing to pack, or it cannot be
    written.
    """
    members: dict[str, bytes] = {}
    entries, packed = [], []
    description = ""
    for run in runs:
        entry, packed_kits = _pack_run(run, images, members)
        entries.append(entry)
        packed.append(packed_kits)
        description = packed_kits.encoded_image
    count = sum(len(entry.artifacts) for entry in entries)
    if not count:
        raise DeployError("nothing to pack: no variant of ONNX Runtime or OpenVINO was measured")
    kit = Kit(images=images, encoded_image=description, runs=tuple(entries))
    content = kit.model_dump_json(indent=1).encode()
    sha256 = hashlib.sha256(content).hexdigest()
    script = Path(kit_script.__file__).read_bytes()
    try:
        with output_file(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
            for name, data in {SCRIPT: script, KIT: content, **members}.items():
                archive.writestr(name, data, zipfile.ZIP_DEFLATED)
    except OSError as error:
        raise DeployError(f"{path}: cannot be written: {error.strerror or error}") from None
    for run, packed_kits in zip(runs, packed, strict=True):
        folder = Deployments(run.finished.folder.path).path / KITS
        folder.mkdir(exist_ok=True)
        RunFolder(folder).write(f"{sha256}.json", packed_kits.model_copy(update={"kit": sha256}))
    return count


def _pack_run(run: DeployedRun, kind: str, members: dict[str, bytes]) -> tuple[KitRun, PackedKit]:
    """Add the files of one run to `members`; return its entry and the data to verify results."""
    finished = run.finished
    run_id = finished.record.run_id
    images, encoded, description = _sample(finished, kind)

    def add(name: str, content: bytes) -> tuple[str, str]:
        members[name] = content
        return name, hashlib.sha256(content).hexdigest()

    array = io.BytesIO()
    np.save(array, images)
    artifacts, expected = [], {}
    deployments = Deployments(finished.folder.path)
    for artifact, runtime in _portable(run):
        folder = deployments.folder(artifact)
        artifacts.append(
            KitArtifact(
                variant=artifact.variant,
                runtime=runtime,
                sha256=artifact.sha256,
                files={
                    name: add(f"{run_id}/{artifact.variant}/{name}", (folder / name).read_bytes())
                    for name in artifact.files
                },
            )
        )
        shares = predict_with(finished, artifact, images, len(usable_cores()))
        expected[artifact.variant] = Expected(
            artifact=artifact.sha256,
            precision=artifact.precision,
            probabilities=tuple(tuple(map(float, row)) for row in shares),
        )
    entry = KitRun(
        run_id=run_id,
        name=finished.record.spec.name,
        images=add(f"{run_id}/images.npy", array.getvalue()),
        encoded=tuple(
            add(f"{run_id}/encoded-{number}", content) for number, content in enumerate(encoded)
        ),
        artifacts=tuple(artifacts),
    )
    packed = PackedKit(kit="0" * 64, run_id=run_id, encoded_image=description, expected=expected)
    return entry, packed


def _portable(run: DeployedRun) -> list[tuple[Artifact, PackedRuntime]]:
    """Measured artifacts that a kit can run, one of each variant, with their libraries."""
    artifacts = {item.artifact.variant: item.artifact for item in run.deployed}
    return [
        (artifact, runtime)
        for name, artifact in artifacts.items()
        if name not in run.skipped
        and name in VARIANTS
        and (runtime := VARIANTS[name].packed_runtime) is not None
    ]


def _sample(run: FinishedRun, kind: str) -> tuple[Images, tuple[bytes, ...], str]:
    """Images uint8 [n, size, size, 3], encoded images, and a description of those."""
    spec = run.record.spec
    if kind == "real":
        test = open_splits(spec, run.folder, lambda text: None)["test"]
        encoded = encoded_images(spec, test)
        images = test.images(np.arange(min(IMAGES, len(test))))
        return images, encoded.contents, encoded.description
    images = drawn_images(IMAGES, spec.image_size)
    contents = tuple(as_jpeg(image) for image in images[:ENCODED_IMAGES])
    return images, contents, f"JPEG, {spec.image_size} x {spec.image_size} px, drawn"


def drawn_images(count: int, size: int) -> Images:
    """Draw products, uint8 [count, size, size, 3]; always the same ones."""
    from clothclf.data.decode import resized
    from clothclf.data.sources.demo_drawing import LABELS, draw_product

    return np.stack(
        [
            resized(
                draw_product(LABELS[number % len(LABELS)], np.random.default_rng(number))[0], size
            )
            for number in range(count)
        ]
    )
