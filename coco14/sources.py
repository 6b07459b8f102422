"""The archives of COCO 2014."""

from data.sources import Source

HOST = "http://images.cocodataset.org"
LARGEST_JSON = 1 << 30  # bytes; the largest has 333 MB


def _images(split, size, md5, unpacked):
    return Source(
        f"COCO's {split}2014",
        f"{split}2014.zip",
        f"{HOST}/zips/{split}2014.zip",
        md5,
        f"{split}2014",
        rf"{split}2014/COCO_{split}2014_\d{{12}}\.jpg",
        (f"COCO_{split}2014_*.jpg",),
        "",
        size,
        unpacked,
    )


# COCO's page gives no sums. These, and the sizes, are what several independent public projects check their downloads
# by; of the annotations it is the host's own ETag as well.
SOURCES = {
    "train": _images("train", 13_510_573_713, "0da8c0bd3d6becc4dcb32757491aca88", 13_600_000_000),
    "val": _images("val", 6_645_013_297, "a3d79f5ed8d289b7a7554ce06a5782b3", 6_700_000_000),
    "annotations": Source(
        "COCO's annotations of 2014",
        "annotations_trainval2014.zip",
        f"{HOST}/annotations/annotations_trainval2014.zip",
        "0a379cfc70b0e71301e0f377548639bd",
        "annotations",
        r"annotations/instances_(train|val)2014\.json",
        ("instances_train2014.json", "instances_val2014.json"),
        "",
        252_872_794,
        493_238_900,
        LARGEST_JSON,
    ),
}
