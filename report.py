"""One HTML page on a run, compared with others -> RUN/report/index.html, report.md and panels.png"""

from dataclasses import replace
from pathlib import Path

from data.content import inputs
from data.datasets import open_dataset
from data.usable import check_image, check_mask_if_any, require_images, usable_ids
from errors import UserError
from infer.run import with_dataset
from tool.config import parse, run_main
from tool.record import make_record
from tool.run import is_made, keep_record
from tool.stages import AESIPE
from tool.usage import StageUsage
from viz.runs import content, read_runs

PAGE = ("index.html", "report.md", "panels.png")


def resolve(settings):
    """Returns (the runs that are named, the settings with the dataset of the first of them)."""
    runs = read_runs(settings.runs or [settings.run])
    settings = replace(settings, run_root=str(settings.run.path.parent), session_name=settings.run.path.name)
    return runs, with_dataset(settings)


def write_report(runs, layout, ids, settings, folder):
    """Write the page, its tables and its pictures to the folder. Returns how many images are shown."""
    from infer.maps import load_aesipe
    from infer.segmentation import load_predictor
    from tool.device import choose_device, describe, set_precision
    from viz.artist import Artist, draw_grid
    from viz.failure import count_failures
    from viz.network import takes_new_seeds
    from viz.page import write_page
    from viz.palette import palette
    from viz.sweep import score_maps
    from viz.tables import write_markdown
    from viz.watch import spread

    if settings.figure:
        runs[0].folder.record(AESIPE)  # of the network that draws them
        require_images(layout, settings.figure, "figure")
    # Its processes are forked, so it comes before torch computes anything.
    swept = score_maps(layout, runs, ids, settings.background_weight, settings.num_workers)
    device = choose_device(settings.device)
    print(f"report: on {describe(device)}", flush=True)
    set_precision("float32", device)
    models = [
        load_aesipe(run.folder, layout.n_classes, device)
        if (number == 0 or settings.figure) and (run.folder / AESIPE).exists()
        else None
        for number, run in enumerate(runs)
    ]
    predictor = load_predictor(runs[0].folder, layout.n_classes, settings.scales, device)
    colours = palette(settings.palette).colours
    artist = Artist(layout, runs, models, predictor, settings.background_weight, colours)
    figures = artist.write_figures(settings.figure, folder)
    write_markdown(folder / "report.md", runs[0], settings.per_class)
    shown = spread(ids, settings.images)
    draw_grid(map(artist.panels, shown), folder / "panels.png", map(artist.caption, shown), colours)
    changes = []
    if models[0] is not None and takes_new_seeds(models[0]):
        changes = count_failures(artist, spread(ids, settings.failure_images))
    write_page(folder / "index.html", artist, swept, ids, changes, figures, settings)
    return len(shown)


def refuse_foreign(folder):
    """Raises UserError where the page or what lies beside it would overwrite files of somebody else's."""
    from viz.index import is_signed
    from viz.page import SIGN

    foreign = [folder / name for name in PAGE if (folder / name).exists()]
    if foreign and not is_signed(folder / PAGE[0], SIGN):
        raise UserError(f"{foreign[0]}: would be overwritten: move it, or choose another --out")


def main():
    runs, settings = resolve(parse("report", __doc__))
    usage = StageUsage(settings.run, "report")
    layout = open_dataset(settings)
    ids = usable_ids(layout, settings.list, (check_image, check_mask_if_any), settings.skip_bad)
    folder = Path(settings.out) if settings.out else settings.run / "report"
    masks = inputs(layout, list(filter(layout.has_mask, ids)), "masks")["masks"]
    record = make_record("report", settings, inputs(layout, ids, "images") | {"masks": masks, "runs": content(runs)})
    if settings.out:
        refuse_foreign(folder)
        write_report(runs, layout, ids, settings, folder)
    elif not is_made(folder, record):
        settings.run.keep_settings("report", settings)
        n_shown = write_report(runs, layout, ids, settings, folder)
        keep_record(folder, record)  # last: a page that was cut short has none
        usage.finish(n_shown, n_shown)
    print(", ".join(str(folder / name) for name in PAGE))
    if settings.open:
        from viz.browser import open_page

        open_page(folder / "index.html")


if __name__ == "__main__":
    run_main(main)
