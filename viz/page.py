"""The report as one HTML page that needs no network: everything it shows is in the file."""

import base64
from functools import partial
from pathlib import Path

import jinja2
from markupsafe import Markup

from conventions import VERSION
from files import atomic
from viz.curves import STAGES, sweep_charts, training_charts
from viz.failure import COLOURS, draw_change, failure_summary
from viz.gallery import gallery_groups
from viz.pictures import PALETTE, data_uri
from viz.runs import MAP_NAMES, setting_rows, steps_of, usage
from viz.sweep import THRESHOLDS, WEIGHTS
from viz.tables import class_columns, compared_scores, confusions, duration, highlights

SIGN = '<meta name="generator" content="AE-SIPE report.py">'


def write_page(path, artist, swept, ids, changes, figures, args):
    """Write the report of the artist's first run, compared with its others.

    swept: {(number of the run, kind of map): MapScores}. ids: of the list. changes: SeedChanges of the network.
    figures: [(path of a PNG, caption)]. args: settings of report.py.
    """
    runs, layout = artist.runs, artist.layout
    failure = failure_summary(changes, layout.class_names)
    context = {
        "sign": SIGN,
        "version": VERSION,
        "runs": runs,
        "args": args,
        "n_images": len(ids),
        "class_names": layout.class_names,
        "palette": artist.colours,
        "highlights": highlights(*runs[:2]),
        "scores": compared_scores(runs),
        "classes": class_columns(*runs[:2]) if args.per_class else None,
        "sweeps": sweep_charts(runs, swept),
        "swept": swept,
        "map_names": MAP_NAMES,
        "weights": WEIGHTS,
        "thresholds": THRESHOLDS,
        "confusions": confusions(runs[0]),
        "curves": training_charts(runs),
        "groups": gallery_groups(runs, swept, ids, args.images),
        "artist": artist,
        "failure": failure,
        "failure_pictures": [
            (change, draw_change(artist, change)) for change in (failure["worst"] if failure else [])[: args.images]
        ],
        "failure_colours": COLOURS[1:],
        "figures": [(path.name, base64.b64encode(path.read_bytes()).decode(), text) for path, text in figures],
        "usage": [(run.name, usage(run.log)) for run in runs],
        "rates": [(run.name, rates(run.log)) for run in runs],
        "settings": setting_rows(runs),
    }
    with atomic(path) as temporary:
        temporary.write_text(environment(artist.colours).get_template("page.html").render(context), encoding="utf-8")


def environment(colours=PALETTE):
    """Jinja's, with every value escaped that is not marked as drawn by this package. colours: of labels."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": percent, "signed": signed, "duration": duration, "plain": plain}
    made.filters |= {"drawn": Markup, "uri": partial(data_uri, colours=colours)}
    return made


def rates(log):
    """[(training stage, last step, mean images a second)] from the lines of the steps."""
    rows = []
    for stage, name in STAGES.items():
        known = [record for record in steps_of(log, stage, "loss") if record.get("images_per_second")]
        if known:
            # The mean over images, not over lines: a slow line took longer.
            seconds = sum(1 / record["images_per_second"] for record in known)
            rows.append((name, known[-1]["step"], len(known) / seconds))
    return rows


def percent(value, digits=1):
    """A share as percent without the sign, a dash for None."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def signed(value, digits=1):
    """A difference of shares in percentage points, with a true minus; empty for None."""
    return "" if value is None else f"{100 * value:+.{digits}f}".replace("-", "−")


def plain(value):
    """A setting's value as it would stand in YAML."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
