"""Where predict.py finds its images and writes its outputs."""

from photos import save

from data.layout import Layout
from data.toy import make_toy


def test_names_that_collide_are_kept_apart_and_inputs_stay(call, tmp_path):
    """Outputs lie beside the images, two folders have images of the same names, and one has that of an output."""
    one, two = tmp_path / "one", tmp_path / "two"
    paths = [save(folder / name, "RGB") for folder in (one, two) for name in ("a.png", "a.jpg", "a.bmp", "A.png")]
    paths.append(save(one / "a.png_deeplab.png", "RGB"))
    before = {path: path.read_bytes() for path in paths}
    done = call(*paths, one / "a.png", out=one)
    assert done.status == 0 and len(done.out.splitlines()) == len(paths)
    assert {path: path.read_bytes() for path in paths} == before
    made_files = [name for line in done.out.splitlines() for name in line.split(" -> ")[1].split(": ")[1].split()]
    assert len({name.casefold() for name in made_files}) == len(made_files) == 2 * len(paths)
    assert {"one_a.png_deeplab.png", "two_a.png_deeplab.png"} < {*made_files}
    assert {path.name for path in one.iterdir()} == {*made_files, *(p.name for p in paths if p.parent == one)}


def test_an_image_with_the_name_of_anothers_output_is_not_overwritten(call, tmp_path):
    paths = [save(tmp_path / "in" / name, "RGB") for name in ("a.png", "a_deeplab.png")]
    before = {path: path.read_bytes() for path in paths}
    assert call(*paths, out=tmp_path / "in").status == 0
    assert {path: path.read_bytes() for path in paths} == before and len(list((tmp_path / "in").iterdir())) == 2 + 4


def test_folders_are_searched_in_depth_and_outputs_lie_as_their_images_do(call, tmp_path):
    """But for what is hidden, the outputs themselves, and links, which may lead in circles."""
    images = tmp_path / "in"
    for name in ("z.png", "b/y.jpg", "b/y.png", "b/c/y.jpg", "a/z.png", "a/x.jpg.png", ".hidden/h.jpg", "a/.h.jpg"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        save(images / name, "RGB", 16, 16)
    (images / "b/circle").symlink_to(images)
    (images / "no.jpg").mkdir()
    kinds = ("", "_overlay")
    expected = {
        f"{name}_deeplab{kind}{'.jpg' if kind else '.png'}"
        for kind in kinds
        for name in ("z", "b/y.jpg", "b/y.png", "b/c/y", "a/z", "a/x.jpg")
    } | {"index.html"}
    out = images / "made"
    for _ in range(2):  # the second finds the outputs of the first below its images
        done = call(images, images / "z.png", out=out)
        assert (done.status, done.err) == (0, "")
        *lines, last = done.out.splitlines()
        assert [line.split(" ")[0] for line in lines] == [
            str(images / name) for name in ("z.png", "a/x.jpg.png", "a/z.png", "b/y.jpg", "b/y.png", "b/c/y.jpg")
        ]
        assert last == f"page: {out}/index.html"
        assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == expected
    assert f" -> {out}/b/c: y_deeplab.png y_deeplab_overlay.jpg" in done.out


def test_training_keeps_the_names(tmp_path, script):
    """So that a run which is copied without its dataset still predicts; test_watch.py looks at AE-SIPE's."""
    make_toy(tmp_path / "toy", train=2, train_aug=2, val=1, size=64)
    where = ("--dataset_root", tmp_path / "toy", "--run_root", tmp_path, "--session_name", "run", "--num_workers", 0)
    network = ("--backbone", "mobilenet_v2", "--weights", "none", "--batch_size", 2, "--crop_size", 32)
    done = script("deeplab/train.py", *where, *network, "--max_iters", 1, "--labels", "truth")
    assert done.status == 0, done.err
    assert (tmp_path / "run/classes.txt").read_text().splitlines() == Layout(tmp_path / "toy").class_names
