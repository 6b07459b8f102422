"""The 21 classes of PASCAL VOC 2012, background first, and the official lengths of its lists."""

CLASS_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
COUNTS = {"train": 1464, "val": 1449, "train_aug": 10582, "test": 1456}
