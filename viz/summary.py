"""What a run says at its end: scores and time by stage, and where to look next.

    python -m viz.summary RUN [STAGE ...]

The driver's last words. STAGE: those that it is of; all when none is named. Of a part of them it names no page.
dataset=SECONDS says what the stage dataset took in this call: a data set belongs to no run, so that no log tells it.
"""

import shlex
import shutil
import sys
from pathlib import Path

from tool.config import run_main
from tool.stages import STAGES
from viz.runs import read_runs, usage
from viz.tables import duration, given_rows, weight_title

EVALUATED = {"DeepLabV3": "deeplab_test", "pseudo label": "eval_seg"}  # kind of output -> the stage; maps: eval_cam
ROW = "{:13s} {:10s} {:>6s} {:7s} {:>6s} {:7s}"


def score_lines(run, stages):
    """A line for each kind of output and list: mIoU, without and with CRF, see `viz.tables.given_rows`."""
    given, lines = given_rows(run), []
    for kind, list_name in dict.fromkeys(key[:2] for key in given):
        if EVALUATED.get(kind, "eval_cam") in stages:
            rows = [given.get((kind, list_name, crf)) for crf in (False, True)]
            cells = [(f"{100 * row[4]['miou']:.2f}", weight_title(row[2])) if row else ("", "") for row in rows]
            lines.append(ROW.format(kind, list_name, *cells[0], *cells[1]).rstrip())
    return [ROW.format("scores in %", "list", "mIoU", "", "+ CRF", "").rstrip(), *lines] if lines else []


def time_lines(run, stages, more):
    """A line of what each stage took, in the order of the pipeline, summed over all times it ran.

    more: {stage: seconds} of this call, of stages that the run's log does not tell.
    """
    took = {row["stage"]: row["seconds"] for row in usage(run.log)} | more
    named = [f"{stage} {duration(took[stage])}{' (now)' * (stage in more)}" for stage in stages if stage in took]
    together = duration(sum(took[stage] for stage in stages if stage in took))
    return [f"time: {', '.join(named)}; together {together}"] if named else []


def where_lines(folder):
    """Where to look next: the report, and what shows the networks on other images.

    folder: of the run; where its path is absolute, the command is for any folder that one stands in.
    """
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    script = str(Path(__file__).parents[1] / "predict.py") if folder.is_absolute() else "predict.py"
    words = [python, script, "--run", str(folder), "--image", "PHOTO.jpg", "--open"]
    return [f"report: {folder / 'report/index.html'}", f"try it: {shlex.join(words)}"]


def main():
    folder, *words = sys.argv[1:]
    stages = [word.partition("=")[0] for word in words]
    now = {stage: float(word.partition("=")[2]) for stage, word in zip(stages, words) if "=" in word}
    whole = [stage.name for stage in STAGES]
    (run,) = read_runs([folder])
    lines = score_lines(run, stages or whole) + time_lines(run, stages or whole, now)
    if (stages or whole)[-1] == whole[-1]:
        lines += where_lines(Path(folder))
    print("\n".join(lines), end="\n" * bool(lines))


if __name__ == "__main__":
    run_main(main)
