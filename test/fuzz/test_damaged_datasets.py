"""Lists, labels and classes of a data set."""

import pytest
from damaging import TEXTS, damaged, read_or_refuse, write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from data.layout import Layout, read_class_names
from data.usable import check_labels, usable_ids
from errors import UserError

# What data/collect.py lets through: no line break, no tab, no space at an end, and an ID is no path.
NAMES = (
    st.text(
        st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="/\\\ufeff"),
        min_size=1,
        max_size=12,
    )
    .map(str.strip)
    .filter(lambda name: name not in ("", ".", ".."))
)


@given(
    st.lists(NAMES, min_size=2, max_size=8, unique=True),
    st.lists(NAMES, min_size=1, max_size=6, unique=True),
    st.data(),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\ufeff"]),
)
@settings(max_examples=60)
def test_datasets_come_back(tmp_path, classes, ids, data, end, mark):
    shown = {image_id: data.draw(st.sets(st.sampled_from(classes[1:]))) for image_id in ids}
    write_dataset(
        tmp_path,
        mark + "".join(name + end for name in classes),
        mark + "".join("\t".join([each, *sorted(names), end]) for each, names in shown.items()),
        mark + "".join(image_id + end for image_id in ids),
    )
    (tmp_path / "JPEGImages").mkdir(exist_ok=True)
    layout = Layout(tmp_path)
    assert layout.class_names == classes == read_class_names(tmp_path / "classes.txt")
    assert usable_ids(layout, "train", (check_labels,)) == ids
    for image_id in ids:
        labels = layout.labels(image_id)
        assert {classes[k + 1] for k in labels.nonzero()[:, 0]} == shown[image_id]
        assert labels.shape == (len(classes) - 1,)


@given(
    st.sampled_from(["classes.txt", "image_labels.txt", "lists/train.txt"]),
    damaged([b"background\ncat\ndog\n", b"a cat\nb\tdog\tcat\n", "a\nb\n\u00fc\n".encode()])
    | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.sampled_from(["a\tcat\n", "../a\n", "x" * 300 + "\n", "a\0b\n", "\tcat\n", "a a\n"]).map(str.encode),
)
@settings(max_examples=100)
def test_damaged_lists(tmp_path, name, data):
    write_dataset(tmp_path)
    (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(data)

    def read(_):
        layout = Layout(tmp_path)
        ids = layout.ids("train")
        return layout, ids, [layout.labels(image_id) for image_id in ids if layout.is_labelled(image_id)]

    found = read_or_refuse(read, tmp_path / name) if name != "classes.txt" else None
    if name == "classes.txt":  # one that lost a class is found out by the labels
        try:
            found = read(None)
        except UserError as error:
            assert str(error).startswith(str(tmp_path)) and len(str(error).splitlines()) == 1
            assert "classes.txt" in str(error)
    if found is not None:
        layout, ids, labels = found
        assert len(ids) > 0 and all(image_id.strip() and not {"/", "\0"} & set(image_id) for image_id in ids)
        assert 2 <= layout.n_classes <= 255
        assert all(each.shape == (layout.n_classes - 1,) and set(each.tolist()) <= {0, 1} for each in labels)
        for image_id in ids:
            assert not layout.has_mask(image_id)
            with pytest.raises(UserError):
                layout.mask(image_id)


@given(TEXTS | st.just("x" * 300))
def test_lists_of_odd_names_are_not_found(tmp_path, name):
    write_dataset(tmp_path)
    try:
        Layout(tmp_path).ids(name)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert name == "train" or (tmp_path / "lists" / f"{name}.txt").exists()
