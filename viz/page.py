"""The report as one HTML page that needs no network: everything it shows is in the file."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from files import atomic
from viz.curves import best_points, sweep_charts, training_charts
from viz.encode import file_uri
from viz.failure import COLOURS, draw_change, failure_summary
from viz.gallery import choose
from viz.runs import MAP_NAMES, setting_rows, steps_of, usage
from viz.tables import best_rows, class_columns, compared_scores, confusions

STAGE_LOGS = {"aesipe": "train_aesipe", "irn": "train_irn", "deeplab": "deeplab_train"}


def write_page(path, runs, swept, artist, ids, changes, figures, args):
    """Write the report of runs[0], compared with the others.

    runs: Runs. swept: {(number of the run, kind of map): MapScores}. artist: of runs[0]. ids: of the list.
    changes: SeedChanges of the network. figures: [(path of a PNG, caption)]. args: settings of report.py.
    """
    failure = failure_summary(changes, artist.layout.class_names)
    context = {
        "runs": runs,
        "args": args,
        "n_images": len(ids),
        "class_names": artist.layout.class_names,
        "highlights": highlights(runs),
        "scores": compared_scores(runs),
        "classes": class_columns(*runs[:2]) if args.per_class else None,
        "sweeps": sweep_charts(runs, swept),
        "best_points": best_points(runs, swept),
        "confusions": confusions(runs[0].scores),
        "curves": training_charts(runs),
        "groups": gallery_groups(runs, swept, ids, args.images),
        "artist": artist,
        "failure": failure,
        "failure_pictures": [
            (change, draw_change(artist.layout, artist.model, change, artist.palette))
            for change in (failure["worst"] if failure else [])[: args.images]
        ],
        "failure_colours": [" ".join(map(str, colour)) for colour in COLOURS],
        "figures": [(path.name, file_uri(path), text) for path, text in figures],
        "usage": [(run.name, usage(run.log)) for run in runs],
        "rates": [(run.name, rates(run.log)) for run in runs],
        "settings": setting_rows(runs),
    }
    with atomic(path) as temporary:
        temporary.write_text(environment().get_template("page.html").render(context), encoding="utf-8")


def environment():
    """Jinja's, with every value escaped that is not marked as drawn by this package."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": percent, "signed": signed, "duration": duration, "plain": plain, "drawn": Markup}
    return made


def highlights(runs):
    """[(stage, list, best mIoU, the same with CRF, difference to the baseline of the better)] of runs[0]."""
    best, others = (best_rows(run.scores) if run else {} for run in (runs[0], runs[1] if runs[1:] else None))
    rows = []
    for stage, list_name in dict.fromkeys((stage, list_name) for stage, list_name, _ in best):
        plain_score, crf = (best.get((stage, list_name, flag), (None,) * 5)[4] for flag in (False, True))
        key = max((key for key in best if key[:2] == (stage, list_name)), key=lambda key: best[key][4]["miou"])
        gain = best[key][4]["miou"] - others[key][4]["miou"] if key in others else None
        rows.append((stage, list_name, plain_score and plain_score["miou"], crf and crf["miou"], gain))
    return rows


def gallery_groups(runs, swept, ids, count):
    """The groups of the gallery: against the baseline's last map, or, of one run, AE-IS-CAM against its own IS-CAM."""
    judged, compared = _last_map(swept, 0), _last_map(swept, 1)
    title = f"over {runs[1].name}'s last map" if compared else ""
    if not compared and (0, "is_cam") in swept and judged == (0, "ae_is_cam"):
        compared, title = (0, "is_cam"), "from its own IS-CAM to its AE-IS-CAM"
    mious = swept[judged].miou if judged else {}
    other = swept[compared].miou if judged and compared else {}
    gains = {image_id: mious[image_id] - other[image_id] for image_id in mious if image_id in other}
    return choose(ids, count, mious, gains, title)


def _last_map(swept, number):
    """The key of the last of a run's maps that was scored, or None."""
    return next(((number, name) for name in reversed(MAP_NAMES) if (number, name) in swept), None)


def rates(log):
    """[(training stage, last step, mean images a second)] from the lines of the steps."""
    rows = []
    for name, stage in STAGE_LOGS.items():
        known = [record for record in steps_of(log, name, "loss") if record.get("images_per_second")]
        if known:
            # The mean over images, not over lines: a slow line took longer.
            seconds = sum(1 / record["images_per_second"] for record in known)
            rows.append((stage, known[-1]["step"], len(known) / seconds))
    return rows


def percent(value, digits=1):
    """A share as percent without the sign, a dash for None."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def signed(value, digits=1):
    """A difference of shares in percentage points, with a true minus; empty for None."""
    return "" if value is None else f"{100 * value:+.{digits}f}".replace("-", "−")


def duration(seconds):
    """Seconds as hours, minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def plain(value):
    """A setting's value as it would stand in YAML."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
