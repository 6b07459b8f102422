"""Which images the gallery shows: groups by mIoU and by what they gained."""

import numpy as np

from viz.runs import MAP_NAMES


def gallery_groups(runs, swept, ids, count):
    """See `choose`: against the baseline's last map, or, of one run, AE-IS-CAM against its own IS-CAM.

    swept: {(number of the run, kind of map): MapScores}.
    """
    judged, compared = (
        next(((number, name) for name in reversed(MAP_NAMES) if (number, name) in swept), None) for number in (0, 1)
    )
    title = f"over {runs[1].name}'s last map" if compared else ""
    if not compared and (0, "is_cam") in swept and judged == (0, "ae_is_cam"):
        compared, title = (0, "is_cam"), "from its own IS-CAM to its AE-IS-CAM"
    mious = swept[judged].miou if judged else {}
    other = swept[compared].miou if compared else {}
    gains = {image_id: mious[image_id] - other[image_id] for image_id in mious if image_id in other}
    return choose(ids, count, mious, gains, title)


def choose(ids, count, mious, gains, gain_title):
    """The groups of the gallery that are not empty: [(title, caption, [(ID, what is said of it)])].

    ids: of the list. mious: {ID: mIoU of the judged map}, empty without masks. gains: {ID: mIoU less that of what it is
    compared with}, empty without. gain_title: says what with. An image may stand in several groups.
    """
    by_miou, by_gain = (sorted(values, key=values.get, reverse=True) for values in (mious, gains))
    pool = list(mious or ids)
    drawn = np.random.default_rng(0).permutation(len(pool))
    groups = [
        ("Gained most", f"Images whose mIoU rises most {gain_title}.", [i for i in by_gain if gains[i] > 0]),
        ("Lost most", f"Images whose mIoU falls most {gain_title}.", [i for i in by_gain[::-1] if gains[i] < 0]),
        ("Best", "Images with the highest mIoU.", by_miou),
        ("Worst", "Images with the lowest mIoU.", by_miou[::-1]),
        ("Random", "Drawn at random, the same images for the same list.", [pool[i] for i in drawn]),
    ]

    def said(image_id):
        text = f"mIoU {100 * mious[image_id]:.1f}" if image_id in mious else ""
        return f"{text} ({100 * gains[image_id]:+.1f})" if image_id in gains else text

    return [(title, caption, [(i, said(i)) for i in chosen[:count]]) for title, caption, chosen in groups if chosen]
