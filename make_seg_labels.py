"""Pseudo labels: CAMs spread by a random walk that IRN's boundaries stop -> RUN/seg_label/ID.png"""

from data.content import class_input, stamps
from data.layout import Layout
from data.usable import check_image, check_labels, usable_ids
from tool.config import parse, run_main
from tool.io import outdated, require_outputs, save_settings
from tool.parallel import is_alone, is_main, share
from tool.record import claim_folder, make_record, source
from tool.settings import plain
from tool.usage import StageUsage


def label(settings, layout, todo, stamps):
    """Write the pseudo labels of this process's images. Returns how many all processes did together."""
    from tqdm import tqdm

    from data.label_png import save_label_png
    from data.loader import image_loader
    from infer.pseudo import load_irn, mean_boundary, pseudo_label
    from tool.cam_file import load_cam
    from tool.dist import close_dist, init_dist, set_precision
    from tool.parallel import background

    def read_cam(image_id):
        return load_cam(settings.run / "cam" / f"{image_id}.npz", layout.n_classes, layout.size(image_id))

    dist = init_dist()
    irn = load_irn(settings.run, dist.device)
    dtype = set_precision(settings.precision, dist.device)
    images = image_loader(layout, todo, settings.num_workers, more=read_cam)
    with background() as submit:
        for image_id, image, (keys, cam) in tqdm(
            images, desc="make_seg_labels", unit="image", dynamic_ncols=True, disable=not dist.main
        ):
            boundary = mean_boundary(irn, image.to(dist.device), dtype)
            labels = pseudo_label(keys.numpy(), cam.to(dist.device), boundary, settings)
            submit(save_label_png, settings.run / "seg_label" / f"{image_id}.png", labels, stamps[image_id])
    done = dist.total(len(todo))
    close_dist()
    return done


def main():
    settings = parse("make_seg_labels", __doc__)
    usage = StageUsage(settings.run, "make_seg_labels")
    layout, folder = Layout(settings.dataset_root, settings.run), settings.run / "seg_label"
    sources = source(settings.run, "ckpt/irn.pt") | source(settings.run, "cam")
    if is_main():
        save_settings(settings.run, "make_seg_labels", plain(settings))
        claim_folder(folder, make_record("make_seg_labels", settings, class_input(layout), sources))
    ids = usable_ids(layout, settings.list, (check_image, check_labels), settings.skip_bad, is_main())
    wanted = stamps(layout, ids)
    todo = outdated({image_id: wanted[image_id] for image_id in share(ids)}, [folder], ".png")
    require_outputs({image_id: wanted[image_id] for image_id in todo}, settings.run / "cam", ".npz", "make_cam.py")
    if not todo and is_alone():
        print(f"make_seg_labels: the labels of all {len(ids)} images of {settings.list} are there")
        return
    usage.finish(label(settings, layout, todo, wanted), len(ids))


if __name__ == "__main__":
    run_main(main)
