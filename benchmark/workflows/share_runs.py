"""Pack the runs of a study for other people, and merge packs into a store."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.runs.root import open_store
from benchmark.sharing.merge import Merged, merge, verify_pack
from benchmark.sharing.pack import Packed, pack
from benchmark.sharing.pack_file import open_pack
from benchmark.workflows.manage_runs import locked


def pack_study(study: StudySettings, path: Path) -> Packed:
    """Write the finished runs of a study to a pack; raises PackError if there are none."""
    return pack(study.tracking.folder.absolute(), study.study, path)


def merge_packs(study: StudySettings, paths: Sequence[Path]) -> Merged:
    """Merge packs into the tracking folder of a study, in this order.

    Nothing is merged unless all of them are valid; raises PackError otherwise.
    """
    merged = Merged()
    with contextlib.ExitStack() as opened:
        packs = [opened.enter_context(open_pack(path)) for path in paths]
        for each in packs:
            verify_pack(each)
        root = open_store(study)
        for each in packs:
            merge(each, study, root, lambda folder: locked([folder]), merged)
    return merged
