"""What the preparations of official data sets share, from their own form to the layout of `data.layout`."""

from pathlib import Path

from errors import UserError


def check_count(name, ids, counts, folders):
    """Raises UserError unless a list has as many images as it has to. counts: {list: number}, {} for any. folders:
    where it is from."""
    if len(ids) != counts.get(name, len(ids)):
        raise UserError(
            f"{name} has {len(ids)} images, not {counts[name]}: these are not complete, or not "
            f"the official ones: {', '.join(map(str, folders))} (--no-check_counts takes a part of them)"
        )


def link_images(root, source, ids):
    """A link an image in root/JPEGImages, since images may lie in several trees; none where it is in place."""
    source = source.resolve()
    folder = own_folder(root / "JPEGImages")
    within = source.is_relative_to(root.resolve())
    for image_id in ids:
        link = folder / f"{image_id}.jpg"
        if link.exists():
            continue
        target = Path("..") / source.relative_to(root.resolve()) if within else source  # so that root can be moved
        link.unlink(missing_ok=True)  # a link to a tree that has moved
        link.symlink_to(target / link.name)


def own_folder(path):
    """A folder to write into; a link to someone else's gives way to it, so that nothing is written there."""
    if path.is_symlink():
        path.unlink()
    path.mkdir(parents=True, exist_ok=True)
    return path
