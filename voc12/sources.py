"""The archives of VOC 2012 and SBD."""

from data.sources import Source

ID = r"\d{4}_\d{6}"
TREE = "VOCdevkit/VOC2012"
SOURCES = {  # addresses and sums as torchvision has them
    "voc": Source(
        "VOC 2012 trainval",
        "VOCtrainval_11-May-2012.tar",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "6cd6e144f989b92b3379bac3b3de84fd",
        TREE,
        rf"{TREE}/(JPEGImages/{ID}\.jpg|Annotations/{ID}\.xml|SegmentationClass/{ID}\.png"
        r"|ImageSets/Segmentation/(train|val)\.txt)",
        ("SegmentationClass", "ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/val.txt"),
        "name an extracted VOCdevkit/VOC2012 by --voc_root",
        others=("https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",),  # newer torchvision's
    ),
    # The evaluation server hands it to those who register: torchvision knows neither a URL nor a sum.
    "test": Source(
        "VOC 2012 test",
        "VOC2012test.tar",
        "http://host.robots.ox.ac.uk:8080",
        None,
        TREE,
        rf"{TREE}/(JPEGImages/{ID}\.jpg|ImageSets/Segmentation/test\.txt)",
        ("ImageSets/Segmentation/test.txt",),
        "",
    ),
    "sbd": Source(
        "SBD",
        "benchmark.tgz",
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
        "82b4d87ceb2ed10f6038a1cba92111cb",
        "benchmark_RELEASE/dataset",
        rf"benchmark_RELEASE/dataset/(cls/{ID}\.mat|(train|val)\.txt)",
        ("cls",),
        "name masks of your own by --aug_dir",
    ),
}
