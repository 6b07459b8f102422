"""Trainings as users run them, on several processes or twice, for rows of `bench.report`.

python -m bench.runs CONFIG STAGE FILE scaling COUNT BATCH STEPS   images a second on COUNT processes
python -m bench.runs CONFIG STAGE FILE twice                       whether --deterministic gives the same bits twice

CONFIG: a `bench.yaml` of `python -m bench --folder`. STAGE: train_aesipe or deeplab_train. FILE: the result, JSON.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from bench.training import TRAINED
from data.datasets import open_dataset
from errors import UserError
from tool.checkpoint import load_state
from tool.config import parse, run_main
from tool.json_file import save_json
from tool.stages import BY_NAME

ROOT = Path(__file__).resolve().parents[1]
DETERMINISTIC_STEPS = 4


def scaling(config, name, count, batch_size, steps):
    """{images_per_second} of a training on so many processes that share a batch, without the first report's steps."""
    run = _train(config, name, f"scaling_{count}_{batch_size}", steps, count, "--batch_size", batch_size)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    rates = [line["images_per_second"] for line in lines if "images_per_second" in line]
    return {"images_per_second": statistics.median(rates[1:])}


def twice(config, name):
    """{same: whether two trainings with --deterministic end with the same bits}."""
    one, other = (_train(config, name, f"twice_{n}", DETERMINISTIC_STEPS, 1, "--deterministic") for n in (1, 2))
    one, other = (load_state(run / "ckpt" / f"{TRAINED[name]}.pt")["model"] for run in (one, other))
    return {"same": all(one[key].equal(other[key]) for key in one)}


def _train(config, name, session, steps, processes, *flags):
    """Train anew with the settings of the config but for these flags. Returns the run's folder."""
    settings = parse(name, argv=["--config", config])
    length = ("--max_iters", steps, "--labels", "truth")
    if name == "train_aesipe":
        images = len(open_dataset(settings).ids(settings.train_list))
        batch = flags[1] if flags[0] == "--batch_size" else settings.batch_size
        length = ("--max_epochs", -(-steps // max(1, images // batch)), "--val_every", 0)
    session = f"{name}_{session}"
    launch = ("-m", "tool.launch", "--standalone", f"--nproc_per_node={processes}") if processes > 1 else ()
    words = (BY_NAME[name].script, "--config", config, "--session_name", session, "--resume", "never", *length, *flags)
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE")}
    run = Path(settings.run_root) / session
    (run / "log.jsonl").unlink(missing_ok=True)
    command = [sys.executable, *launch, *map(str, words)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        raise UserError(f"{name} on {processes}: {(errors or done.stderr.strip().splitlines() or ['?'])[0][:300]}")
    return run


def main():
    config, name, out, what, *numbers = sys.argv[1:]
    function = {"scaling": scaling, "twice": twice}[what]
    save_json(Path(out), function(config, name, *map(int, numbers)))


if __name__ == "__main__":
    run_main(main)
