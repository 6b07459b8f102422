import pytest

from errors import UserError
from infer.run import with_dataset
from tool.run import Run
from tool.settings import Export, MakeSegLabels, Report, TrainAesipe


def test_tools_take_the_dataset_of_their_run_unless_one_is_given(tmp_path):
    run = Run(tmp_path)
    run.keep_settings("train_aesipe", TrainAesipe(dataset_root="one"))
    run.keep_settings("make_seg_labels", MakeSegLabels(dataset_root="two", dataset_format="folders"))
    run.keep_settings("report", Report())
    tool, given = Export(run_folder=str(run)), Export(run_folder=str(run), dataset_root="three")
    for settings, stage, expected in (
        (tool, None, ("one", "voc")),
        (tool, "make_seg_labels", ("two", "folders")),
        (given, "make_seg_labels", ("three", "voc")),
    ):
        found = with_dataset(settings, stage)
        assert (found.dataset_root, found.dataset_format) == expected and found.run.path == tmp_path
    for stage in ("make_cam", "report"):  # it has not run, and its dataset is the run's itself
        with pytest.raises(UserError, match=rf"config.yaml: names no dataset of {stage}: give --dataset_root$"):
            with_dataset(tool, stage)
