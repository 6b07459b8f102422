"""What is made of Oxford-IIIT Pet, from trees, archives and downloads."""

import numpy as np
import pytest
from pets_miniature import COLOURS, LARGE, LISTS, SMALL, TRAIN, TRAIN_AUG, VAL, size_of, trimap
from PIL import Image
from torchvision.datasets import OxfordIIITPet

from conventions import IGNORE
from data.label_png import voc_palette
from data.layout import Layout
from pets.prepare import COUNTS, choose
from pets.sources import HOST, IMAGES, MD5, SIZES, SOURCES

SPECIES = {name: int(species) for lines in LISTS.values() for name, _, species, _ in map(str.split, lines)}


def check_set(root):
    """The whole set as it has to come out of the miniature."""
    layout = Layout(root)
    assert layout.class_names == ["background", "cat", "dog"]
    assert {name: layout.ids(name) for name in layout.lists()} == {"train_aug": TRAIN_AUG, "train": TRAIN, "val": VAL}
    assert sorted(path.stem for path in (root / "JPEGImages").iterdir()) == sorted(TRAIN_AUG + VAL)
    for name in TRAIN_AUG + VAL:
        assert layout.present(name) == [SPECIES[name] - 1]
        if name != LARGE:
            lookup = np.array([0, SPECIES[name], 0, IGNORE])
            assert np.array_equal(layout.mask(name), lookup[trimap(name)]), name
        check_photograph(root, layout, name)
        with Image.open(root / f"SegmentationClassAug/{name}.png") as mask:
            assert mask.mode == "P" and mask.getpalette() == voc_palette().ravel().tolist()
    assert not [path for path in root.rglob("*") if path.name.endswith((".tmp", ".unfinished", ".download"))]


def check_photograph(root, layout, name):
    """An RGB JPEG of its mask's size, whose colours lie where the mask says."""
    with Image.open(root / f"JPEGImages/{name}.jpg") as picture:
        assert picture.format == "JPEG" and picture.mode == "RGB" and not picture.getexif()
    pixels, mask = layout.image(name).permute(1, 2, 0).numpy(), layout.mask(name)
    assert pixels.shape[:2] == mask.shape == ((229, 320) if name == LARGE else size_of(name))
    for value, label in ((1, SPECIES[name]), (2, 0)):
        found, colour = pixels[mask == label].mean(0), COLOURS[value]
        if name == "Abyssinian_7":
            colour = [float(np.dot(colour, (0.299, 0.587, 0.114)))] * 3
        assert np.abs(found - colour).max() < 12, (name, found, colour)


def test_the_tree_becomes_lists_labels_and_masks(official, prepare):
    done = prepare(official.root, "--sources", official.base)
    assert done.status == 0, done.err
    check_set(official.root)
    assert done.out.startswith(f"{official.root}: needs 0.1 GB; 9.0 GB are free\n")
    assert "3 of 10 photographs are no JPEGs and were converted: " in done.out
    assert "Egyptian_Mau_130.jpg (GIF), Egyptian_Mau_136.jpg (PNG), Egyptian_Mau_207.jpg (BMP)" in done.out
    assert done.out.endswith("set: 3 classes with the background, train 2, train_aug 6, val 4\n")
    before = {path: path.stat().st_mtime_ns for path in official.root.rglob("*") if path.suffix in (".jpg", ".png")}
    again = prepare(official.root, "--sources", official.base)
    assert again.status == 0 and again.out.count("\n") == 1 and "needs" not in again.out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_archives_give_the_same_and_no_more_than_is_taken_is_unpacked(archives, prepare):
    done = prepare(archives.root, "--sources", archives.archives)
    assert done.status == 0, done.err
    check_set(archives.root)
    for tree, suffix in (("images", "jpg"), ("annotations/trimaps", "png")):
        unpacked = {path.name for path in (archives.root / tree).iterdir()}
        assert unpacked == {f"{name}.{suffix}" for name in TRAIN_AUG + VAL}
    assert sorted(path.name for path in (archives.root / "annotations").iterdir()) == [
        "test.txt",
        "trainval.txt",
        "trimaps",
    ]


def test_a_download_gives_the_same(archives, prepare, mirror):
    done = prepare(archives.root, "--download", "--mirror", mirror)
    assert done.status == 0, done.err
    check_set(archives.root)
    sizes = "images.tar.gz: 792 MB to download, annotations.tar.gz: 19 MB to download"
    assert done.out.startswith(f"{archives.root}: needs 0.9 GB ({sizes}); 9.0 GB are free\n")
    assert done.out.count("downloading ") == 2 and f"downloading {mirror}/{IMAGES} to " in done.out


def test_a_set_that_was_stopped_is_finished_without_another_download(archives, prepare, mirror):
    assert prepare(archives.root, "--download", "--mirror", mirror).status == 0
    (archives.root / "image_labels.txt").unlink()
    (archives.root / "JPEGImages" / f"{VAL[0]}.jpg").unlink()
    done = prepare(archives.root, "--download", "--mirror", "http://127.0.0.1:9")
    assert done.status == 0 and "downloading" not in done.out
    check_set(archives.root)


def test_addresses_and_sums_are_torchvisions():
    assert sorted((f"{HOST}/{name}", md5) for name, md5 in MD5.items()) == sorted(OxfordIIITPet._RESOURCES)
    assert {(source.url, source.md5) for source in SOURCES.values()} == {*OxfordIIITPet._RESOURCES}
    assert sum(SIZES.values()) == 811_092_049  # as TensorFlow Datasets has it


def test_what_torchvision_downloads_is_taken_and_read_alike(archives, prepare, mirror, monkeypatch):
    """Its own download from the mirror, with the sums of these archives."""
    resources = tuple((f"{mirror}/{name}", md5) for name, md5 in archives.sums.items())
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", resources)
    folder = archives.root.parent / "by_torchvision"
    kinds = ("binary-category", "segmentation")
    theirs = {part: OxfordIIITPet(folder, part, kinds, download=True) for part in LISTS}
    done = prepare(archives.root, "--sources", folder)
    assert done.status == 0, done.err
    check_set(archives.root)
    assert not (archives.root / "images").exists()
    layout = Layout(archives.root)
    for part, names in (("trainval", TRAIN_AUG), ("test", VAL)):
        places = {line.split()[0]: place for place, line in enumerate(LISTS[part])}
        for name in names:
            image, (species, segmentation) = theirs[part][places[name]]
            assert layout.present(name) == [species]
            if name != LARGE:
                assert np.array_equal(layout.mask(name) == species + 1, np.array(segmentation) == 1)
                ours = layout.image(name).permute(1, 2, 0).numpy()
                assert np.abs(ours.astype(int) - np.array(image)).mean() < 3


def test_torchvision_refuses_a_damaged_archive_and_so_do_we(archives, prepare, mirror, monkeypatch):
    resources = tuple((f"{mirror}/{name}", md5) for name, md5 in archives.sums.items())
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", resources)
    path = archives.archives / IMAGES
    whole = path.read_bytes()
    path.write_bytes(whole[:2000] + bytes(100) + whole[2100:])
    with pytest.raises(RuntimeError, match="corrupted"):
        OxfordIIITPet(archives.root.parent / "by_torchvision", download=True)
    done = prepare(archives.root, "--download", "--mirror", mirror)
    assert done.status == 2 and f"{IMAGES}: cannot be fetched (its MD5 is not {archives.sums[IMAGES]})" in done.err
    assert not (archives.root / IMAGES).exists() and not (archives.root / "classes.txt").exists()


def test_every_nth_of_each_species_in_the_order_of_the_list():
    pets = {name: ("cat", "dog")[species - 1] for name, species in SPECIES.items()}
    assert choose(pets, {"cat": 1, "dog": 1}) == [*pets]
    expected = [name for name in pets if pets[name] == "dog"][::7]
    assert choose(pets, {"cat": 10**6, "dog": 7}) == [next(iter(pets)), *expected]
    assert {*TRAIN} <= {*TRAIN_AUG} and not {*TRAIN_AUG} & {*VAL} and SMALL == COUNTS | SMALL
