"""Trackers: TensorBoard, Weights & Biases and MLflow behind one interface. A package is imported once it is asked for.

Adding one is a class with the methods of Tracker and a row of TRACKERS (docs/extending.md).
"""

import os
import re
import threading
import time
from contextlib import closing
from pathlib import Path

from errors import UserError, missing_package
from files import writing


class Tracker:
    """Where a run's curves and pictures are shown; this one shows nothing.

    run: the run's folder, for files. stage: what the curves are of. start: steps that an earlier process has done:
    points that it left of later ones do not count. Methods may raise OSError and errors of the package.
    """

    package: str | None = None  # of Python, which need not be installed

    def __init__(self, run, stage, start):
        pass

    def scalars(self, values, step):
        """values: {name: float}, the name's part before a / is its group."""

    def image(self, name, image, step):
        """image: uint8 [H,W,3]."""

    def close(self):
        """Nothing is shown after it."""


class TensorBoard(Tracker):
    """Files in RUN/tensorboard/STAGE: tensorboard --logdir RUN."""

    package = "tensorboard"

    def __init__(self, run, stage, start):
        from torch.utils.tensorboard import SummaryWriter

        threading.excepthook = _leave_to_caller
        self.board = SummaryWriter(run / "tensorboard" / stage, purge_step=start + 1)

    def scalars(self, values, step):
        for name, value in values.items():
            self.board.add_scalar(name, value, step)
        self.board.flush()  # or the points of a killed process would be lost

    def image(self, name, image, step):
        self.board.add_image(name, image, step, dataformats="HWC")

    def close(self):
        self.board.close()


class WandB(Tracker):
    """Weights & Biases: a run in the group of the run's name. Offline, in RUN/wandb, unless WANDB_MODE says otherwise.

    A process that continues is another run of the group: files of an offline one cannot be added to.
    """

    package = "wandb"

    def __init__(self, run, stage, start):
        import wandb

        self.wandb = wandb
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "aesipe",
            group=run.name,
            name=f"{run.name}/{stage}",
            dir=run,
            mode=os.environ.get("WANDB_MODE") or "offline",
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True),
        )
        self.run.define_metric("*", step_metric="step")  # its own steps count the calls

    def scalars(self, values, step):
        self.run.log({**values, "step": step})

    def image(self, name, image, step):
        self.run.log({name: self.wandb.Image(image), "step": step})

    def close(self):
        try:
            self.run.finish()
        finally:
            self.wandb.teardown()  # or it would be tried at exit, with a traceback where its process was killed


class MLflow(Tracker):
    """A run of the experiment of the run's name. Files in RUN/mlruns, unless MLFLOW_TRACKING_URI names a server.

    A process that continues is another run of the experiment.
    """

    package = "mlflow"

    def __init__(self, run, stage, start):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # it would rather have a database
        from mlflow import MlflowClient

        self.client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or (run / "mlruns").resolve().as_uri())
        known = self.client.get_experiment_by_name(run.name)
        experiment = known.experiment_id if known else self.client.create_experiment(run.name)
        self.run = self.client.create_run(experiment, run_name=stage).info.run_id

    def scalars(self, values, step):
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self.client.log_batch(self.run, [Metric(_key(name), value, now, step) for name, value in values.items()])

    def image(self, name, image, step):
        self.client.log_image(self.run, image, key=_key(name), step=step)

    def close(self):
        self.client.set_terminated(self.run)


def _key(name):
    """A name of the letters that MLflow takes."""
    return re.sub(r"[^\w/. -]", "_", name, flags=re.ASCII)


TRACKERS = {"none": Tracker, "tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}


class RunTracker:
    """A tracker by its name in TRACKERS. All that stops it is a UserError, which names the run and the tracker."""

    def __init__(self, name, run, stage, start=0):
        self.name, self.run, self.package = name, Path(run), TRACKERS[name].package
        self.tracker = self._call(TRACKERS[name], self.run, stage, start)

    def scalars(self, values, step):
        self._call(self.tracker.scalars, values, step)

    def image(self, name, image, step):
        self._call(self.tracker.image, name, image, step)

    def close(self):
        self._call(self.tracker.close)

    def _call(self, function, *args):
        try:
            with writing(f"{self.run} (tracker {self.name})"):
                return function(*args)
        except ModuleNotFoundError as error:
            if error.name != self.package:
                raise
            raise missing_package(f"tracker {self.name} (--tracker none needs none)", self.package) from error
        except Exception as error:
            if type(error).__module__.split(".")[0] != self.package:
                raise
            said = " ".join(str(error).split())[:200]
            raise UserError(f"{self.run} (tracker {self.name}): {said}: fix it, or use --tracker none") from error


def track_scores(settings, stage, scores):
    """Show what an evaluation stage measured in the tracker of its settings. scores: {name: mIoU in [0,1]}."""
    with closing(RunTracker(settings.tracker, settings.run, stage, start=-1)) as tracker:
        tracker.scalars({f"eval/{name}_miou": value for name, value in scores.items()}, step=0)


def _leave_to_caller(args, otherwise=threading.excepthook):
    """TensorBoard's thread prints what stops it; the next call of its writer raises it as well, which is enough."""
    if not (isinstance(args.exc_value, OSError) and type(args.thread).__module__.startswith("tensorboard")):
        otherwise(args)
