import pytest

from tool.hint import as_setting


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--overwrite", "--overwrite is a setting of the stage dataset: write dataset.overwrite=true"),
        ("--no-check_counts", "--no-check_counts is a setting of the stage dataset: write dataset.check_counts=false"),
        ("--skip_bad", "--skip_bad is a setting: write common.skip_bad=true"),
        ("--device", "--device is a setting: write common.device=VALUE"),
        ("--lr_new", "--lr_new is a setting of the stage train_aesipe: write train_aesipe.lr_new=VALUE"),
        (
            "--val_every",
            "--val_every is a setting of the stages train_aesipe, deeplab_train: write STAGE.val_every=VALUE",
        ),
        ("--open", ""),  # of one call, so no key of a config
        ("--image", ""),  # of no stage
        ("-", ""),
    ],
)
def test_a_flag_is_said_as_the_driver_takes_it(flag, said):
    assert as_setting(flag) == said


def test_the_other_name_of_a_flag_is_its_keys():
    said = as_setting("--split")
    assert said.startswith("--split is a setting of the stage") and said.endswith(".list=VALUE")
