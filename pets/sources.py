"""The archives of Oxford-IIIT Pet. Addresses and MD5 sums as torchvision.datasets.OxfordIIITPet has them, a test
compares; fetched and unpacked by `data.sources`, which continues a download and writes no member elsewhere."""

from data.sources import Source

HOST = "https://www.robots.ox.ac.uk/~vgg/data/pets/data"
NAME = r"[A-Za-z]\w*_\d+"  # `._` files of macOS and .mat files lie among images and trimaps
IMAGES, ANNOTATIONS = "images.tar.gz", "annotations.tar.gz"
MD5 = {IMAGES: "5c4f3ee8e5d25df40f4fd59a7f44e54c", ANNOTATIONS: "95a8c909bbe2e81eed6a22bccdf3f68f"}
SIZES = {IMAGES: 791_918_971, ANNOTATIONS: 19_173_078}  # bytes


def _part(title, archive, tree, wanted, signs, **more):
    flag = "name an extracted oxford-iiit-pet by --sources"
    return Source(title, archive, f"{HOST}/{archive}", MD5[archive], tree, rf"{tree}/{wanted}", signs, flag, **more)


SOURCES = {
    "lists": _part(
        "Oxford-IIIT Pet's lists",
        ANNOTATIONS,
        "annotations",
        r"(trainval|test)\.txt",
        ("trainval.txt",),
        size=SIZES[ANNOTATIONS],
    ),
    "trimaps": _part(
        "Oxford-IIIT Pet's trimaps", ANNOTATIONS, "annotations/trimaps", rf"({NAME})\.png", ("[A-Za-z]*_*.png",)
    ),
    "images": _part(
        "Oxford-IIIT Pet's photographs", IMAGES, "images", rf"({NAME})\.jpg", ("Abyssinian_*.jpg",), size=SIZES[IMAGES]
    ),
}


def only(source, names):
    """A Source of which no more is unpacked than the files of these names."""
    return source._replace(wanted=source.wanted.replace(NAME, "|".join(names)))
