"""Segment or localise on any images with a trained run -> palette PNGs and overlays, RUN/predict/NAME_*, and of folders
an index page, RUN/predict/index.html"""

import os
import sys
import warnings
from pathlib import Path

from data.search import find_images, output_names
from errors import UserError
from infer.run import trained_class_names
from tool.config import parse, run_main


def predict(settings):
    """Ask the run's networks about each image that is found. Returns whether all of them could be read."""
    from infer.photo import chosen_classes, chosen_networks, load_networks, read_for_network, trained_side
    from tool.device import choose_device, set_precision
    from viz.browser import open_page
    from viz.index import Index
    from viz.photo import ENDINGS

    device, out = choose_device(settings.device), Path(settings.out or settings.run / "predict")
    class_names = trained_class_names(settings.run, settings.dataset_root)
    classes = chosen_classes(settings.labels, class_names)
    files, problems = find_images(settings.image, out)
    dtype = set_precision(settings.precision, device)
    chosen = chosen_networks(settings.run, settings.network)
    networks = load_networks(chosen, settings, class_names, dtype, device)
    max_side = settings.max_side or trained_side(settings.run)
    endings = [f"_{kind}{ending}" for network in networks for kind in network.kinds for ending in ENDINGS]
    names = output_names(files, out, endings)
    scales = {factor for network in networks for factor in network.scales}
    for problem in problems:
        complain(problem)
    wanted = files and (settings.open or any(map(os.path.isdir, settings.image)))
    index = Index(out, f"Predictions of {settings.run}", len(files)) if wanted else None
    for path in files:
        start, pixels, written = out / names[path], None, []
        try:
            image, size = read_for_network(path, max_side, scales)
        except UserError as error:
            said = error
            problems.append(error)
            complain(error)
        else:
            pixels = image.permute(1, 2, 0).numpy()
            answers = [(network.name, *network.ask(image.to(device), classes, settings.crf)) for network in networks]
            said, written = write_answers(answers, start, pixels, size, class_names, settings)
            print(f"{path} {said} -> {start.parent}: {' '.join(written)}", flush=True)
        if index:
            index.add(path, said, pixels, start, written)
    if index and settings.open:
        open_page(index.first)
    elif index:
        print(f"page: {index.first}", flush=True)
    return not problems


def write_answers(answers, start, pixels, size, class_names, settings):
    """Write what networks answered: [(name, keys, outputs, words)]. Returns (it in words, names of the files)."""
    from viz.palette import palette
    from viz.photo import write_outputs

    seen = "" if pixels.shape[:2] == size else f", seen at {pixels.shape[1]} x {pixels.shape[0]}"
    said, written = [], []
    for name, keys, outputs, words in answers:
        said.append(f"{name}: {words}" if len(answers) > 1 else words)
        written += write_outputs(start, pixels, size, keys, outputs, class_names, palette(settings.palette))
    return f"({size[1]} x {size[0]}{seen}): {'; '.join(said)}", written


def complain(problem):
    """One line on stderr, as scripts print what is wrong."""
    print(f"error: {problem}", file=sys.stderr, flush=True)


def main():
    settings = parse("predict", __doc__)
    if not settings.image:
        raise UserError("--image names no image: give image files, or folders that are searched for them")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    warnings.filterwarnings("ignore", module="PIL")  # odd metadata is no concern of the one who looks at the image
    if not predict(settings):
        sys.exit(2)


if __name__ == "__main__":
    run_main(main)
