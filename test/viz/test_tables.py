from tool.metric import scores
from viz.runs import RunContent
from viz.tables import (
    class_columns,
    compared_scores,
    confusion_table,
    confusions,
    given_rows,
    highlights,
    write_markdown,
)

MATRIX = [[6, 2, 0, 0], [1, 3, 0, 1], [0, 0, 0, 0]]


def make_run(name, *rows, given=(1.0,)):
    return RunContent(None, name, {"eval_cam": {"background_weight": list(given)}}, [], list(rows))


def row(stage, weight, matrix, names=("background", "cat", "dog"), crf=False):
    return stage, "train", weight, crf, scores(matrix, names)


def test_confusion_is_normalised_by_row():
    titles, rows = confusion_table(MATRIX, ["background", "cat", "dog"])
    assert titles == ["background", "cat", "unsure"]  # no pixel is a dog or labelled one
    assert rows == [
        ("background", 8, [(75, True), (25, False), (0, False)]),
        ("cat", 5, [(20, False), (60, True), (20, False)]),
    ]


def test_scores_without_a_matrix_have_no_confusion():
    older = ("CAM", "train", 1.0, False, {"miou": 0.5, "accuracy": 1, "iou": {"background": 0.5}})
    assert confusions(make_run("old", older)) == []
    assert [
        title for title, *_ in confusions(make_run("one", row("CAM", 0.5, MATRIX), row("CAM", 0.5, MATRIX, crf=True)))
    ] == ["CAM x 0.5", "CAM x 0.5 + CRF"]


def test_stages_stand_in_the_order_of_the_pipeline():
    perfect = [[8, 0, 0, 0], [0, 5, 0, 0], [0, 0, 0, 0]]
    one = make_run("one", row("AE-IS-CAM", 0.8, MATRIX), row("pseudo label", None, perfect))
    two = make_run("two", row("CAM", 1.0, perfect), row("CAM", 0.5, perfect, crf=True), row("AE-IS-CAM", 0.8, perfect))
    lines = compared_scores([one, two])
    assert [line[:3] for line in lines] == [
        ("CAM", "train", 0.5),
        ("CAM", "train", 1.0),
        ("AE-IS-CAM", "train", 0.8),
        ("pseudo label", "train", None),
    ]
    assert lines[0][3] == [(None, None), (None, 1.0)] and lines[2][3][1] == (1.0, None)


def test_the_row_of_a_stage_is_the_one_at_the_weight_that_was_given_not_the_best():
    """Found: the best was chosen by the masks, which the sweep is said not to do."""
    rows = [
        row("CAM", 0.5, [[8, 0, 0, 0], [0, 5, 0, 0], [0, 0, 0, 0]]),
        row("CAM", 0.8, MATRIX),
        row("CAM", 1.0, MATRIX),
    ]
    for given, chosen in (((0.8, 1.0), 0.8), ((1.0, 0.8), 1.0), ((2.0,), 0.5), (("x",), 0.5)):
        assert [row[2] for row in given_rows(make_run("one", *rows, given=given)).values()] == [chosen]
    label = row("pseudo label", None, MATRIX)
    assert list(given_rows(make_run("one", *rows, label))) == [
        ("CAM", "train", False),
        ("pseudo label", "train", False),
    ]
    assert given_rows(None) == {}


def test_highlights_are_the_better_of_the_two_with_its_gain():
    perfect, wrong = [[8, 0, 0, 0], [0, 5, 0, 0], [0, 0, 0, 0]], [[1, 7, 0, 0], [5, 0, 0, 0], [0, 0, 0, 0]]
    run = make_run("one", row("CAM", 1.0, wrong), row("CAM", 1.0, perfect, crf=True), row("IS-CAM", 1.0, MATRIX))
    baseline = make_run("two", row("CAM", 1.0, perfect), row("CAM", 1.0, MATRIX, crf=True))
    low, high, middle = (scores(matrix, "abc")["miou"] for matrix in (wrong, perfect, MATRIX))
    assert highlights(run, baseline) == [
        ("CAM", "train", low, high, high - middle),
        ("IS-CAM", "train", middle, None, None),
    ]
    assert [each[-1] for each in highlights(run)] == [None, None]


def test_classes_beside_the_baselines():
    """A class may be called mean."""
    names = ("background", "mean", "dog")
    worse = row("CAM", 0.5, [[1, 7, 0, 0], [5, 0, 0, 0], [0, 0, 0, 0]], names)
    run = make_run("one", worse, row("CAM", 0.8, MATRIX, names), given=(0.8, 0.5))
    titles, lines = class_columns(run, make_run("two", worse))
    assert titles == [("CAM x 0.8", "train")]
    assert [name for name, _ in lines] == ["mean", "background", "mean"]
    (_, [(mean, gain)]), (_, [(background, _)]), (_, [(cat, cat_gain)]) = lines
    assert (background, cat, cat_gain) == (6 / 9, 3 / 7, 3 / 7) and mean == (6 / 9 + 3 / 7) / 2
    assert gain == mean - (1 / 13) / 2
    assert class_columns(make_run("none")) == ([], [])


def test_a_run_without_scores_may_have_masks(tmp_path, capsys):
    write_markdown(tmp_path / "report.md", make_run("new"), per_class=True)
    said = "Nothing was evaluated: there are no masks, or the stages that evaluate have not run.\n"
    assert capsys.readouterr().out == said and (tmp_path / "report.md").read_text() == f"# new\n\n{said}"
