"""What is asked of a trained AE-SIPE: its maps over scales and mirror images, its classes, and the switches that an
export may set otherwise."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import LABELS, example_image, network
from trained_run import CLASSES, METHOD, make_run

from data.transforms import scaled
from infer.evaluate import evaluate_cam
from infer.maps import class_probabilities, load_aesipe, multi_scale_maps
from module.cam import valid_mask
from module.crf import dense_crf_labels
from module.labels import weighted_argmax
from tool.cam_file import save_cam
from tool.metric import label_confusion_matrix
from tool.run import Run
from tool.settings import MakeCam

CPU = torch.device("cpu")
MAPS = ("cam", "is_cam", "ae_is_cam")


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def image():
    return (255 * example_image()[0]).byte()


@torch.no_grad()
def test_maps_written_out(model, image):
    """Logits and features of image and mirror image are summed, then the maps over the scales, and each class is
    divided by its own maximum."""
    expected = dict.fromkeys(MAPS, 0)
    for factor in (0.5, 1.0):
        sized = scaled(image, factor)[None] / 255
        features = [one + other.flip(3) for one, other in zip(model.encode(sized), model.encode(sized.flip(3)))]
        valid = valid_mask(LABELS[:1], torch.ones(1, *features[2].shape[2:]))
        found = model.localize(*features, sized, valid)
        for name in MAPS:
            own = found[name][:, [0, 1, 3]]
            expected[name] = expected[name] + F.interpolate(own, (97, 130), mode="bilinear", align_corners=True)[0]
    keys, maps = multi_scale_maps(model, image, LABELS[0], (0.5, 1.0), MAPS)
    assert keys.tolist() == [0, 1, 3] and list(maps) == [*MAPS]
    for name, total in expected.items():
        tops = total.flatten(1).amax(dim=1)
        assert tops.max() > 1.1 * tops.min()  # or one maximum would do for all classes
        torch.testing.assert_close(maps[name], total / (tops[:, None, None] + 1e-5), rtol=0, atol=1e-4, msg=name)


@torch.no_grad()
def test_class_probabilities_are_those_of_the_mean_score_of_image_and_mirror_image(model, image):
    scores = [model(view[None] / 255, LABELS[:1])["score"][0] for view in (image, image.flip(2))]
    assert (scores[0] - scores[1]).abs().max() > 1e-3
    expected = torch.sigmoid((scores[0] + scores[1]) / 2)
    torch.testing.assert_close(class_probabilities(model, image, None), expected, rtol=0, atol=1e-5)


def test_an_export_may_switch_the_method_otherwise_than_the_training(tmp_path):
    make_run(tmp_path, tmp_path)
    names = ("structure_features", "normalization", "cam_background")
    trained, switched = (
        load_aesipe(Run(tmp_path), len(CLASSES), CPU, settings)
        for settings in (MakeCam(), MakeCam(ae=False, structure_features="semantic", normalization="max"))
    )
    assert trained.sequence == tuple(METHOD["sequence"]) and switched.sequence == ()
    assert [getattr(trained, name) for name in names] == [METHOD[name] for name in names]
    assert [getattr(switched, name) for name in names] == ["semantic", "max", METHOD["cam_background"]]


def test_each_weight_of_the_background_has_a_crf_of_its_own_labels(tmp_path):
    generator = np.random.default_rng(0)
    truth, photo = generator.integers(0, 3, (20, 24)), generator.integers(0, 256, (3, 20, 24), np.uint8)
    cam, keys = generator.random((2, 20, 24)).astype(np.float16), np.array([0, 2])
    save_cam(tmp_path / "a.npz", keys, cam)
    layout = SimpleNamespace(n_classes=3, mask=lambda _: truth, image=lambda _: torch.from_numpy(photo))
    found = evaluate_cam(layout, tmp_path, (0.2, 3.0), (1.0,), True, "a")
    assert {*found} == {(0.2, False), (3.0, False), (1.0, False), (0.2, True), (3.0, True)}
    for (weight, crf), matrix in found.items():
        labels = weighted_argmax(cam.astype(np.float32), weight)
        labels = dense_crf_labels(photo.transpose(1, 2, 0), labels, 2) if crf else labels
        assert np.array_equal(matrix, label_confusion_matrix(truth, keys[labels], 3))
    assert not np.array_equal(found[0.2, True], found[3.0, True])
