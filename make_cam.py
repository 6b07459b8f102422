"""Export CAMs of a trained AE-SIPE at several scales and flips -> RUN/cam/ID.npz"""

from functools import partial

from data.content import class_input, stamps
from data.layout import Layout
from data.usable import check_labels, check_scaled_image, usable_ids
from tool.config import parse, run_main
from tool.io import outdated, save_settings
from tool.parallel import is_alone, is_main, share
from tool.record import claim_folder, make_record, source
from tool.settings import plain
from tool.stages import CAM_FOLDERS
from tool.usage import StageUsage


def export(settings, layout, todo, stamps, folders):
    """Write the maps of this process's images. Returns how many all processes did together."""
    from tqdm import tqdm

    from data.loader import image_loader
    from infer.maps import load_aesipe, multi_scale_maps
    from tool.cam_file import save_cam
    from tool.dist import close_dist, init_dist, set_precision
    from tool.parallel import background

    dist = init_dist()
    model = load_aesipe(settings.run, layout.n_classes, dist.device, settings)
    dtype = set_precision(settings.precision, dist.device)
    with background() as submit:
        for image_id, image in tqdm(
            image_loader(layout, todo, settings.num_workers),
            desc="make_cam",
            unit="image",
            dynamic_ncols=True,
            disable=not dist.main,
        ):
            image, labels = image.to(dist.device), layout.labels(image_id).to(dist.device)
            keys, maps = multi_scale_maps(model, image, labels, settings.scales, settings.maps, dtype)
            for name, folder in folders.items():
                submit(
                    save_cam,
                    folder / f"{image_id}.npz",
                    keys.cpu(),
                    maps[name].cpu(),
                    settings.cam_bits,
                    stamps[image_id],
                )
    done = dist.total(len(todo))
    close_dist()
    return done


def main():
    settings = parse("make_cam", __doc__)
    usage = StageUsage(settings.run, "make_cam")
    layout = Layout(settings.dataset_root, settings.run)
    checks = (partial(check_scaled_image, settings.scales), check_labels)
    ids = usable_ids(layout, settings.list, checks, settings.skip_bad, is_main())
    record = make_record("make_cam", settings, class_input(layout), source(settings.run, "ckpt/aesipe.pt"))
    folders = {name: settings.run / CAM_FOLDERS[name] for name in settings.maps}
    if is_main():
        save_settings(settings.run, "make_cam", plain(settings))
        for folder in folders.values():
            claim_folder(folder, record)
    wanted = stamps(layout, ids)
    todo = outdated({image_id: wanted[image_id] for image_id in share(ids)}, folders.values(), ".npz")
    if not todo and is_alone():
        print(f"make_cam: the maps of all {len(ids)} images of {settings.list} are there")
        return
    usage.finish(export(settings, layout, todo, wanted, folders), len(ids))


if __name__ == "__main__":
    run_main(main)
