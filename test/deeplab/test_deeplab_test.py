import contextlib
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
import torch

import deeplab.test
import infer.segmentation
from data.layout import Layout
from data.toy import make_toy
from tool.dist import Dist


@pytest.mark.parametrize("workers", [0, 3])
def test_two_images_a_worker_wait_for_dense_crf(tmp_path, monkeypatch, workers):
    """Each holds its probabilities, a megabyte a class: four a worker took 25 GB on 64 cores."""

    def submit(function, *args):
        futures.append(Future())
        futures[-1].set_result(None)
        return futures[-1]

    def drain(waiting, limit=0, drain=deeplab.test.drain):
        drain(waiting, limit)
        left.append(len(waiting))

    futures, left = [], []
    dist = Dist(0, 1, torch.device("cpu"))
    monkeypatch.setattr(deeplab.test, "drain", drain)
    monkeypatch.setattr(deeplab.test, "process_pool", lambda _: contextlib.nullcontext(SimpleNamespace(submit=submit)))
    monkeypatch.setattr(infer.segmentation, "load_deeplab", lambda *_: None)
    monkeypatch.setattr(
        infer.segmentation, "multi_scale_probabilities", lambda model, image, *_: torch.ones(3, *image.shape[1:]) / 3
    )
    make_toy(tmp_path / "toy", train=1, train_aug=1, val=9, size=64)
    layout = Layout(tmp_path / "toy")
    ids = layout.ids("val")
    settings = SimpleNamespace(num_workers=workers, crf=True, precision="float32", scales=(1.0,), flip=False)
    stage = SimpleNamespace(
        settings=settings, run=tmp_path, processes=lambda: contextlib.nullcontext(dist), progress=lambda images: images
    )
    deeplab.test.segment(stage, layout, dict.fromkeys(ids, "0" * 32), ["plain", "crf"], ids)
    assert len(futures) == 9 and max(left) == 2 * max(1, workers) and left[-1] == 0
