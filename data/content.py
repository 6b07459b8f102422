"""Digests of what a stage reads of a dataset, for the records and stamps of what it makes."""

from data.index import digest


def class_digest(class_names):
    return _of(class_names)


def class_input(dataset):
    return {"classes": class_digest(dataset.class_names)}


def inputs(dataset, ids, *kinds):
    """{"classes", "list" and each of the kinds: digest}.

    dataset: `data.dataset.Dataset`. ids: as the stage uses them, in order. kinds: of "labels", "images" and "masks".
    """
    readers = {
        "labels": _labels,
        "images": lambda dataset, image_id: dataset.image_facts(image_id).digest,
        "masks": lambda dataset, image_id: dataset.mask_facts(image_id).digest,
    }
    found = {**class_input(dataset), "list": f"{len(ids)} images, {_of(ids)}"}
    return found | {kind: _of(f"{image_id} {readers[kind](dataset, image_id)}" for image_id in ids) for kind in kinds}


def stamps(dataset, ids, labels=True):
    """{ID: stamp of what is made of the image alone or, with labels, of the image and its labels}."""
    return {
        image_id: digest(
            f"{dataset.image_facts(image_id).digest} {_labels(dataset, image_id) if labels else ''}".encode()
        )
        for image_id in ids
    }


def _labels(dataset, image_id):
    return " ".join(map(str, dataset.present(image_id)))


def _of(texts):
    return digest("\n".join(texts).encode(errors="surrogatepass"))
