"""Digests of what a stage reads of a dataset, for the records and stamps of what it makes."""

from data.index import digest


def class_digest(class_names):
    return _of(class_names)


def class_input(layout):
    return {"classes": class_digest(layout.class_names)}


def inputs(layout, ids, *kinds):
    """{"classes", "list" and each of the kinds: digest}.

    layout: `data.layout.Layout`. ids: as the stage uses them, in order. kinds: of "labels", "images" and "masks".
    """
    readers = {
        "labels": _labels,
        "images": lambda layout, image_id: layout.image_facts(image_id).digest,
        "masks": lambda layout, image_id: layout.mask_facts(image_id).digest,
    }
    found = {**class_input(layout), "list": f"{len(ids)} images, {_of(ids)}"}
    return found | {kind: _of(f"{image_id} {readers[kind](layout, image_id)}" for image_id in ids) for kind in kinds}


def stamps(layout, ids, labels=True):
    """{ID: stamp of what is made of the image alone or, with labels, of the image and its labels}."""
    return {
        image_id: digest(
            f"{layout.image_facts(image_id).digest} {_labels(layout, image_id) if labels else ''}".encode()
        )
        for image_id in ids
    }


def _labels(layout, image_id):
    return " ".join(map(str, layout.present(image_id)))


def _of(texts):
    return digest("\n".join(texts).encode(errors="surrogatepass"))
