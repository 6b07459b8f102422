"""Check a config file for every stage before the first one starts, and write it with its overrides applied.

    python check_config.py CONFIG OUT [section.key=value ...]

Prints the run's folder.
"""

import sys

import yaml

import deeplab.test
import deeplab.train
import eval_cam
import eval_seg
import make_cam
import make_ir_labels
import make_seg_labels
import prepare_dataset
import report
import train_aesipe
import train_irn
from errors import UserError
from files import atomic
from tool.config import override, parse, read_config, run_main

SCRIPTS = {"dataset": prepare_dataset, "train_aesipe": train_aesipe, "make_cam": make_cam, "eval_cam": eval_cam,
           "make_ir_labels": make_ir_labels, "train_irn": train_irn, "make_seg_labels": make_seg_labels,
           "eval_seg": eval_seg, "deeplab_train": deeplab.train, "deeplab_test": deeplab.test, "report": report}


def main():
    source, out, *assignments = sys.argv[1:]
    with atomic(out) as temporary:
        temporary.write_text(yaml.safe_dump(override(read_config(source), assignments), sort_keys=False))
    try:
        runs = [parse(script.get_parser(), section, ["--config", out]).run for section, script in SCRIPTS.items()]
    except UserError as error:
        raise UserError(str(error).replace(out, source)) from error
    print(runs[0])


if __name__ == "__main__":
    run_main(main)
