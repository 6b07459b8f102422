"""Check a config file for every stage before the first one starts, and write it with its overrides applied.

    python check_config.py CONFIG OUT [section.key=value ...]

Prints the run's folder. The environment may say on how many processes training is to run, GPUS on each of NNODES
machines, and which stages, RUN_STAGES (all): only theirs need batches that can be shared out.
"""

import os
import re
import sys

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
from tool.yaml_file import dump_yaml

SCRIPTS = {"dataset": prepare_dataset, "train_aesipe": train_aesipe, "make_cam": make_cam, "eval_cam": eval_cam,
           "make_ir_labels": make_ir_labels, "train_irn": train_irn, "make_seg_labels": make_seg_labels,
           "eval_seg": eval_seg, "deeplab_train": deeplab.train, "deeplab_test": deeplab.test, "report": report}


def main():
    source, out, *assignments = arguments(sys.argv[1:])
    with atomic(out) as temporary:
        temporary.write_text(dump_yaml(override(read_config(source), assignments)))
        try:
            stages = {section: parse(script.get_parser(), section, ["--config", str(temporary)])
                      for section, script in SCRIPTS.items()}
        except UserError as error:
            raise UserError(str(error).replace(str(temporary), source)) from error
        check_batches(source, stages, os.environ)
    print(stages["dataset"].run)


def arguments(words):
    """CONFIG, OUT and what follows; --help prints what they are."""
    if {"-h", "--help"} & {*words}:
        print(__doc__.strip())
        sys.exit()
    if len(words) < 2:
        raise UserError("CONFIG and OUT are needed: python check_config.py CONFIG OUT [section.key=value ...]")
    source, out = (os.path.realpath(word) for word in words[:2])
    if out == source or os.path.exists(out) and not os.path.isfile(out):
        raise UserError(f"{words[1]}: would be overwritten: name a new file as OUT")
    return words


def check_batches(source, stages, environment):
    """Raises UserError if a stage that is to run cannot share its batches out between its processes."""
    for name in ("GPUS", "NNODES"):
        if not re.fullmatch("[1-9][0-9]{0,3}", environment.get(name) or "1"):
            raise UserError(f"{name}={environment[name]} must be a whole number from 1 up")
    processes = int(environment.get("GPUS") or 1) * int(environment.get("NNODES") or 1)
    running = (environment.get("RUN_STAGES") or " ".join(stages)).split()
    for section, args in stages.items():
        batch = getattr(args, "batch_size", processes)
        if section in running and batch % processes:
            raise UserError(f"{source}: {section}.batch_size={batch} cannot be shared out equally between {processes} "
                            "processes (GPUS times NNODES): choose a multiple of them")


if __name__ == "__main__":
    run_main(main)
