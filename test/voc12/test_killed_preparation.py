"""A preparation that was killed half-way."""

import multiprocessing
import os
import signal

import pytest
from miniature import check_set, stamps

import data.extract
import data.layout
import voc12.masks
from tool.config import parse
from voc12.prepare import prepare_voc12
from voc12.sources import SOURCES

# Stage of the work -> the function that is called for each of its files, and the call on which all ends.
ENDS = {
    "archive": (data.extract, "_write", 7),
    "masks": (voc12.masks, "save_label_png", 4),
    "lists": (data.layout, "save_lines", 2),
}


def prepare_until_killed(stage, settings):
    """In a process of its own, or of a pool's worker, which takes that process with it."""
    module, name, number = ENDS[stage]
    function, process, calls = getattr(module, name), os.getpid(), []

    def call(*arguments):
        calls.append(0)
        if len(calls) == number:
            os.kill(process, signal.SIGKILL)
            os._exit(1)
        return function(*arguments)

    setattr(module, name, call)
    prepare_voc12(settings)


@pytest.mark.parametrize("stage", ["archive", "masks", "lists"])
def test_a_call_that_was_killed_is_finished_by_the_next(archives, prepare, stage):
    flags = ["--dataset_root", archives.root, "--sources", archives.archives, "--num_workers", 1]
    settings = parse("dataset", argv=[str(flag) for flag in flags])
    process = multiprocessing.get_context("fork").Process(target=prepare_until_killed, args=(stage, settings))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (archives.root / "image_labels.txt").exists()
    before = stamps(archives.root)
    assert before and (stage != "masks" or len(list((archives.root / "SegmentationClassAug").glob("2*"))) == 3)
    if stage == "archive":
        archive = archives.archives / SOURCES["voc"].name
        archive.rename(archive.with_name("away"))
        refused = prepare(archives.root, "--sources", archives.archives)
        assert refused.status == 2 and "was extracted only in part" in refused.err
        archive.with_name("away").rename(archive)
    done = prepare(archives.root, "--sources", archives.archives)
    assert done.status == 0, done.err
    check_set(archives.root)
    after = stamps(archives.root)
    kept = {path: stamp for path, stamp in before.items() if path.suffix in (".png", ".jpg", ".xml", ".mat")}
    assert kept.items() <= after.items()  # what was finished was not made again
