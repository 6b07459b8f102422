"""What networks say of a photograph, as files: palette PNGs, overlays and heat maps."""

import numpy as np

from module.labels import labels_at_size, weighted_argmax
from viz.overlay import heat, in_grid, overlay, save_jpeg, with_legend
from voc12.palette import save_label_png, voc_palette

ENDINGS = (".png", "_overlay.jpg", "_heat.jpg")


def write_outputs(start, image, size, keys, outputs, class_names):
    """Write START_KIND.png of `size`, and START_KIND_overlay.jpg and for maps START_KIND_heat.jpg of the image's.

    image: uint8 [h,w,3], as the network saw it. keys: [k]. outputs: {kind: `infer.photo.Output`}. Returns the files'
    names.
    """
    palette, written = voc_palette(), []
    for kind, output in outputs.items():
        paths = [start.with_name(f"{start.name}_{kind}{ending}") for ending in ENDINGS]
        labels = labels_at_size(output.scores, size, output.background_weight)
        save_label_png(paths[0], keys.astype(np.uint8)[labels])
        labels = keys[weighted_argmax(output.scores, output.background_weight)]
        shown = [(class_names[k], palette[k]) for k in np.unique(labels) if k]
        save_jpeg(paths[1], with_legend(overlay(image, labels, palette), shown))
        if output.heat is None:
            paths.pop()
        else:
            pairs = list(zip(keys, output.heat))[1:]
            save_jpeg(
                paths[2], in_grid([with_legend(heat(image, cam), [(class_names[k], palette[k])]) for k, cam in pairs])
            )
        written += [path.name for path in paths]
    return written
