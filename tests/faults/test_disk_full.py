"""A full disk, on a small in-memory file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import study
from tests.faults.conftest import Undisturbed, fill


@pytest.mark.slow
@pytest.mark.parametrize("left_kib", [0, 64, 512, 2048])
def test_a_full_disk_ends_a_study_in_one_sentence_and_harms_nothing(
    left_kib: int, small: Path, undisturbed: Undisturbed
) -> None:
    """Full at the start or during a run; with free space, the study resumes."""
    (small / "faults.yaml").write_text(study.STUDY.replace("seeds: [0, 1]", "seeds: [0]"))
    study.finish(small)
    earlier = study.figures(small)
    (small / "faults.yaml").write_text(study.STUDY)
    (small / "output.txt").unlink()
    (small / "output.txt").symlink_to(small.parent / "output.txt")
    ballast = fill(small, left_kib * 1024)
    code = study.start(small, "run", "--all").wait(120)
    said = study.output(small)
    print(said)
    assert "Traceback" not in said
    assert code == (1 if left_kib else 2)
    assert "No space left on device" in said
    assert study.figures(small) == earlier
    study.assert_no_process(small)
    ballast.unlink()
    study.finish(small, "--retry-failed")
    assert study.figures(small) == undisturbed.figures
    study.assert_whole_in_mlflow(small)
