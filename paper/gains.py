"""What one row of a table gains over another, seed by seed, and whether chance would do as much."""

from paper.detail import full_titles


def gains(table, runs):
    """(header, lines) of text: a line a pair of `paper.tables.Table.gains`, a cell a column.

    A cell has the gain in mIoU, in points, of every seed of `paper.runs.Runs` that both rows have, "3.7, 4.9", and from
    two seeds on the two-sided p value of a paired t-test; it is empty where they share no seed. A pair without any gain
    is left out.
    """
    rows = {row.title: row for row in table.rows}
    lines = []
    for better, than in table.gains:
        pair = [rows[title] for title in (better, than)]
        cells = [
            _cell(*(runs.by_seed(row.network, column, row.background_weight) for row in pair))
            for column in table.columns
        ]
        if any(cells):
            lines.append([f"{better} over {than}", *cells])
    return ["gain", *full_titles(table.columns).values()], lines


def _cell(better, than):
    """better, than: {seed: figure} of `paper.runs.Runs`."""
    pairs = [(100 * better[seed]["miou"], 100 * than[seed]["miou"]) for seed in better if seed in than]
    values = ", ".join(f"{round(ours - theirs, 1) + 0.0:.1f}" for ours, theirs in pairs)  # + 0.0: no "-0.0"
    if len(pairs) < 2:
        return values
    from scipy.stats import ttest_rel  # once there is something to test: it takes long to import

    return f"{values} (p {ttest_rel(*zip(*pairs)).pvalue:.2g})"
