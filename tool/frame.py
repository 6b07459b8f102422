"""The frame of a stage's script: flags, records, what is missing, processes, progress and the line in the run's log."""

from contextlib import contextmanager
from pathlib import Path

from progress import numbered, progress_bar
from tool.config import parse
from tool.failure import explain_gpu
from tool.json_file import save_json
from tool.parallel import is_alone, is_main, parallel_map, share
from tool.record import make_record
from tool.run import outdated, require_outputs
from tool.stages import BY_NAME, maker
from tool.tracker import track_scores
from tool.usage import StageUsage

A_WEEK = 7 * 24 * 60  # minutes


class StageCall:
    """One call of a stage.

    name: of `tool.stages`. description: for --help. settings: as parsed. run: the run's folder. main: whether this is
    the first or only process.
    """

    def __init__(self, name, description):
        self.name, self.settings, self.main = name, parse(name, description), is_main()
        self.run = self.settings.run
        self.usage = StageUsage(self.run, name)

    def record(self, inputs, *sources):
        """The record of what is made from these inputs and from these outputs of other stages."""
        return make_record(self.name, self.settings, inputs, self.run.sources(*sources))

    def require(self, stamps, folder, suffix):
        """Raises UserError unless another stage's outputs of the images with these stamps are as they must be."""
        require_outputs(stamps, self.run / folder, suffix, maker(folder) or BY_NAME["make_cam"].script)

    def make(self, outputs, record, stamps, work, needs=None):
        """Make the outputs of images that are missing or were made from something else, one a folder and image.

        outputs: {folder of the run: suffix of its files}. record: of what is made. stamps: {ID: stamp}. work: function
        of this process's IDs that makes them, called in every process. needs: (folder, suffix) of another stage's
        outputs that it reads. Returns the number of images that lacked one.
        """
        record = {**record, **self._precision()}
        if self.main:
            for folder in outputs:  # all before the first is claimed: a call that is refused leaves nothing behind
                self.run.refuse_others(folder, record)
            for folder in outputs:
                self.run.claim(folder, record)
            self.run.keep_settings(self.name, self.settings)  # once nothing is refused
        # The first process looks at the whole list, since it tells how many there were; the others at their share.
        mine = share([*stamps])
        looked_at = stamps if self.main else {image_id: stamps[image_id] for image_id in mine}
        missing = outdated(looked_at, {self.run / folder: suffix for folder, suffix in outputs.items()})
        if needs:
            self.require({image_id: stamps[image_id] for image_id in missing}, *needs)
        if not missing and is_alone():
            print(f"{numbered(self.name)}: {', '.join(outputs)}: all {len(stamps)} images are there")
            return 0
        # Shared out by the whole list: each process looks at another moment at what is missing.
        absent = set(missing)
        work([image_id for image_id in mine if image_id in absent])
        self.usage.finish(len(missing), len(stamps))
        return len(missing)

    def _precision(self):
        """What `--precision auto` stands for here: part of the record of what is made."""
        if getattr(self.settings, "precision", None) != "auto":
            return {}
        from tool.device import choose_device, resolve_precision

        return {"precision": resolve_precision("auto", choose_device(self.settings.device))}

    @contextmanager
    def processes(self, timeout_minutes=A_WEEK):
        """Yields the `tool.dist.Dist` of the processes that share the work; at the end they wait for one another.

        timeout_minutes: for which one waits for the others; a share of the images can take a slower machine hours more.
        Faults of a GPU in here become UserErrors that name the settings to lower.
        """
        from tool.device import agreed_precision, describe
        from tool.dist import close_dist, init_dist

        dist = init_dist(self.settings.device, timeout_minutes)
        precision = agreed_precision(self.settings.precision, dist)
        if self.main:
            others = f", {dist.world} processes" if dist.world > 1 else ""
            print(f"{numbered(self.name)}: on {describe(dist.device)} in {precision}{others}", flush=True)
        try:
            yield dist
        except RuntimeError as error:
            if fault := explain_gpu(error, self.name, self.settings, dist):
                raise fault from error
            raise
        dist.barrier()
        close_dist()

    def on_cores(self, function, ids):
        """Call a function of an ID for each of this process's images, on its share of the machine's cores."""
        from tool.dist import together

        with together():  # or one would write outputs before the first process has claimed their folder
            for _ in parallel_map(function, ids, self.settings.num_workers, self.name):
                pass

    def progress(self, images):
        """The images under a progress bar, in the main process alone."""
        return progress_bar(self.name, images, disable=not self.main)

    def train(self, name, record, make_task, class_names):
        """Train a checkpoint of the run unless it is there.

        make_task: function of a Dist that returns a `tool.trainer.Task`; weights are drawn from the seed in it.
        """
        if self.run.is_trained(name, record, self.settings.resume):
            return
        import torch

        from tool.device import set_deterministic
        from tool.trainer import Trainer

        if self.settings.deterministic:
            set_deterministic()
        with self.processes(timeout_minutes=60) as dist:
            torch.manual_seed(self.settings.seed)
            task = make_task(dist)
            trainer = Trainer(task, self.settings, dist, self.run / name, record)
            start = trainer.restore()
            if dist.main:  # once nothing is refused
                self.run.keep_settings(self.name, self.settings)
                self.run.keep_class_names(class_names)
            done = trainer.train(start)
        self.usage.finish(done, task.steps)

    def evaluate(self, name, record, score, count, miou=None):
        """The result of an evaluation, RUN/eval/NAME.json: made now by score(), or the one that is there.

        count: of the images that it looks at. miou: function of the result that gives {name: mIoU} for the tracker.
        """
        path = Path("eval") / name
        result = self.run.evaluated(path, record)
        if result is None:
            result = score()
            self.run.keep_settings(self.name, self.settings)
            save_json(self.run / path, {**result, "record": record})
            if miou is not None:
                track_scores(self.settings, self.name, miou(result))
            self.usage.finish(count, count)
        return result


def line_of_scores(name, row):
    """A row of `infer.evaluate.evaluate_map` as text."""
    crf = "+CRF" if row["crf"] else "    "
    return f"{name:10s} background x{row['background_weight']:<5g} {crf} mIoU {100 * row['miou']:.2f}"
