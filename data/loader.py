"""Datasets and loaders. The order of images and every random draw follow from (seed, epoch, index) alone, so a run
that continues after a stop, or runs on another number of processes, sees the same batches."""

import os
import signal
from functools import partial

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from errors import UserError


class TrainingSet(Dataset):
    """Images of a list with image-level labels and, if target is given, a label map.

    layout: `data.dataset.Dataset`. ids: image IDs. transform: `data.transforms.CropTransform`.
    target: function from an ID to a label map, uint8 [H,W], or None.
    """

    def __init__(self, layout, ids, transform, seed, target=None):
        self.layout = layout
        self.ids = ids
        self.transform = transform
        self.seed = seed
        self.target = target

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, key):
        """key: (epoch, index). Returns the transform's dict with `labels`, float32 [K-1], and `id`."""
        epoch, index = key
        image_id = self.ids[index]
        size = self.layout.size(image_id)
        target = None
        if self.target is not None:
            target = torch.from_numpy(self.target(image_id))
            if target.shape != size:
                (height, width), (rows, columns) = size, target.shape
                raise UserError(
                    f"{image_id}: its label map is {columns} x {rows} (width x height), its image {width} x {height}"
                )
        view = self.transform.draw(size, _generator(self.seed, epoch, index))
        image = self.layout.image(image_id, at_least=view.size)  # a large photo need not be decoded in full
        sample = self.transform(image, target, view)
        sample["id"] = image_id
        sample["labels"] = self.layout.labels(image_id)
        return sample


class StepSampler:
    """Batches of (epoch, index) for the steps start..steps-1, this process's share of each global batch.

    Images that do not fill a last batch are left out of their epoch; fewer images than a batch are repeated.
    """

    def __init__(self, n_images, batch_size, steps, seed, start=0, rank=0, world=1):
        if batch_size % world:
            raise UserError(f"batch_size {batch_size} cannot be shared out evenly among {world} processes")
        self.n_images, self.batch_size, self.steps, self.seed = n_images, batch_size, steps, seed
        self.start, self.rank, self.world = start, rank, world

    def __len__(self):
        return self.steps - self.start

    def __iter__(self):
        per_epoch = steps_per_epoch(self.n_images, self.batch_size)
        order_of, order = None, None
        for step in range(self.start, self.steps):
            epoch, position = divmod(step, per_epoch)
            if epoch != order_of:
                generator = _generator(self.seed, epoch)
                order_of, order = epoch, torch.randperm(self.n_images, generator=generator).tolist()
            first = position * self.batch_size
            batch = [order[i % self.n_images] for i in range(first, first + self.batch_size)]
            yield [(epoch, index) for index in batch[self.rank :: self.world]]


def _generator(*numbers):
    """A generator that follows from the numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number) % 2**63
    return torch.Generator().manual_seed(seed)


def steps_per_epoch(n_images, batch_size):
    return max(1, n_images // batch_size)


def training_loader(dataset, batch_size, steps, start, rank, world, workers):
    """Loader of this process's batches, workers shared out over the whole run."""
    sampler = StepSampler(len(dataset), batch_size, steps, dataset.seed, start, rank, world)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        prefetch_factor=4 if workers else None,
        **_worker_options(workers),
    )


def collate(samples):
    """Samples of a TrainingSet as a batch: their tensors stacked, `id` a list, and `most`, the most classes that any of
    the images has, background included, counted here because on a GPU whoever asks has to wait."""
    batch = default_collate(samples)
    return batch | {"most": 1 + int(batch["labels"].sum(dim=1).max())}


def batches(dataset, settings, steps, dist):
    """A function from the first step to the loader of this process's batches: `batches` of a `tool.trainer.Task`."""
    shares = {"rank": dist.rank, "world": dist.world, "workers": settings.num_workers}
    return partial(training_loader, dataset, settings.batch_size, steps, **shares)


def _worker_options(workers):
    """Forked everywhere: where Python would start workers anew, they could not be handed a dataset's functions."""
    return {
        "num_workers": workers,
        "multiprocessing_context": "fork" if workers else None,
        "worker_init_fn": _leave_signals_to_the_parent,
        "pin_memory": torch.cuda.is_initialized(),
    }


def _leave_signals_to_the_parent(_):
    """The parent finishes its step, saves and ends its workers. Ctrl-C and a group's SIGTERM do not reach them; where a
    scheduler sends SIGTERM to every process of a job, the first is passed over, since the parent has it too."""
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


class ImageSet(Dataset):
    """Whole images for inference: (ID, uint8 [3,H,W]) and, if given, what `more` reads for the ID."""

    def __init__(self, layout, ids, more=None):
        self.layout = layout
        self.ids = ids
        self.more = more

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        image_id = self.ids[index]
        item = image_id, self.layout.image(image_id)
        return item if self.more is None else (*item, self.more(image_id))


def image_loader(layout, ids, workers, more=None):
    """Loader of single whole images, see ImageSet."""
    return DataLoader(ImageSet(layout, ids, more), batch_size=None, **_worker_options(workers))
