"""How time and memory grow with the size of the image and with the number of classes, as a plot."""

from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from bench.measure import compare
from bench.operations import build

SIDES = (256, 384, 512, 768, 1024)  # px of a crop; the photograph of the random walk is as large
CLASSES = (21, 41, 61, 81)
NAMES = ("seeds", "prototypes", "is_cam", "pamr", "ae", "random_walk", "irn_loss")


def plot_growth(folder, shape, device, runs):
    """Time the product's operations over SIDES and CLASSES, write FOLDER/growth.png and print the exponents.

    Returns {"side" or "classes": {operation: [[value, seconds, MiB], ...]}}.
    """
    report = {"side": {}, "classes": {}}
    for name in NAMES:
        for axis, values in (("side", SIDES), ("classes", CLASSES)):
            rows = []
            for value in values:
                if axis == "side":
                    changed = replace(shape, crop_size=value, height=value, width=value)
                else:
                    changed = replace(shape, n_classes=value)
                ours = {"ours": build(name, changed, device, Path()).functions["ours"]}
                row = compare(ours, device, runs)[0]["ours"]
                rows.append([value, row["median"], row["mib"]])
            report[axis][name] = rows
        sides = np.array(report["side"][name], float)
        exponent = np.polyfit(2 * np.log(sides[:, 0]), np.log(sides[:, 1]), 1)[0]
        by_class = report["classes"][name]
        print(
            f"{name:12s} time ~ pixels^{exponent:.2f}, x{by_class[-1][1] / by_class[0][1]:.2f} from {CLASSES[0]} to "
            f"{CLASSES[-1]} classes",
            flush=True,
        )
    _draw(report, folder)
    return report


def _draw(report, folder):
    figure, axes = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
    for column, (axis, label) in enumerate((("side", "side of the image, pixels"), ("classes", "number of classes"))):
        for line, (unit, factor) in enumerate((("ms", 1e3), ("MiB", 1))):
            panel = axes[line, column]
            for name, rows in report[axis].items():
                panel.plot(
                    [row[0] for row in rows], [(row[1 + line] or np.nan) * factor for row in rows], ".-", label=name
                )
            panel.set(xlabel=label, ylabel=unit, yscale="log", xscale="log" if axis == "side" else "linear")
            ticks = [row[0] for row in report[axis][NAMES[0]]]
            panel.set_xticks(ticks, map(str, ticks))
            panel.minorticks_off()
            panel.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    Path(folder).mkdir(parents=True, exist_ok=True)
    figure.savefig(Path(folder) / "growth.png", dpi=100)
    plt.close(figure)
