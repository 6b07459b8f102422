import threading
from pathlib import Path

import pytest

from data.official import link_images

IDS = [f"{number:04}" for number in range(600)]


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "tree").mkdir()
    for image_id in IDS:
        (tmp_path / f"tree/{image_id}.jpg").touch()
    return tmp_path / "tree"


def test_a_new_set_costs_a_call_an_image_and_several_wait_together(tmp_path, tree, monkeypatch):
    """Found: three for each of COCO's 123,287 images, one after the other."""
    calls = []

    def counted(name, call):
        def count(path, *more, **settings):
            calls.append((name, threading.get_ident()))
            return call(path, *more, **settings)

        monkeypatch.setattr(Path, name, count)

    for name in ("exists", "unlink", "symlink_to"):
        counted(name, getattr(Path, name))
    link_images(tmp_path / "set", tree, IDS)
    monkeypatch.undo()
    assert len(calls) == len(IDS) and len({thread for _, thread in calls}) > 1
    assert all((tmp_path / f"set/JPEGImages/{image_id}.jpg").resolve() == tree / f"{image_id}.jpg" for image_id in IDS)


def test_what_leads_somewhere_stays_and_what_leads_nowhere_is_linked_anew(tmp_path, tree):
    folder = tmp_path / "set/JPEGImages"
    folder.mkdir(parents=True)
    (tmp_path / "other.jpg").write_text("other")
    (folder / "0000.jpg").symlink_to(tmp_path / "other.jpg")
    (folder / "0001.jpg").symlink_to(tmp_path / "gone.jpg")
    (folder / "0002.jpg").write_text("own")
    link_images(tmp_path / "set", tree, IDS[:4])
    link_images(tmp_path / "set", tree, IDS[:4])
    assert (folder / "0000.jpg").resolve() == tmp_path / "other.jpg"
    assert (folder / "0002.jpg").read_text() == "own" and not (folder / "0002.jpg").is_symlink()
    for image_id in ("0001", "0003"):
        assert (folder / f"{image_id}.jpg").resolve() == tree / f"{image_id}.jpg"
