"""Which states of a training are kept, and what becomes of damaged ones."""

import signal
from functools import partial

import pytest
import torch
from tiny_training import STEPS, Stopped, assert_equal, counted, squares, stop, train, trainer_of, weights

from errors import UserError
from tool.checkpoint import StateFolder, load_state, revision
from tool.dist import Dist


def state_steps(run):
    return StateFolder(run / "ckpt/tiny_state").steps()


def test_the_last_two_states_and_the_best_are_kept(tmp_path):
    """Every step a state, scored by a watch; step 3 is the best."""
    kept = {}

    def watch(step, network, log):
        kept[step] = state_steps(tmp_path)  # before this step's own
        return {3: 0.9, 7: 0.5}.get(step, 0.1)

    with pytest.raises(Stopped):
        train(tmp_path, counted([], at="a9", do=stop), save_every=1, watch=watch)
    assert kept == {
        1: [],
        2: [1],
        3: [1, 2],
        4: [2, 3],
        5: [3, 4],
        6: [3, 4, 5],
        7: [3, 5, 6],
        8: [3, 6, 7],
        9: [3, 7, 8],
    }
    train(tmp_path, save_every=1, watch=watch)
    assert kept[12] == [3, 10, 11]
    assert sorted(path.name for path in (tmp_path / "ckpt").iterdir()) == ["tiny.pt", "tiny_best.pt"]
    best = load_state(tmp_path / "ckpt/tiny_best.pt")
    assert (best["step"], best["score"]) == (3, 0.9)
    with pytest.raises(Stopped):
        train(tmp_path / "three", counted([], at="a3", do=stop), save_every=3)
    assert_equal(best["model"], StateFolder(tmp_path / "three/ckpt/tiny_state").newest("cpu")["model"])


@pytest.mark.parametrize("watch_every", [1, 2, 5])
def test_the_best_watched_step_is_kept_whenever_states_are_saved(tmp_path, watch_every):
    train(tmp_path, save_every=7, watch=lambda step, *_: {5: 0.9, 10: 0.8}.get(step, 0.1), watch_every=watch_every)
    best = load_state(tmp_path / "ckpt/tiny_best.pt")
    assert (best["step"], best["score"]) == ((10, 0.8) if watch_every == 2 else (5, 0.9))


def test_no_other_step_is_kept_where_the_last_is_the_best(tmp_path):
    train(tmp_path, save_every=1, watch=lambda step, *_: step, watch_every=5)
    assert [path.name for path in (tmp_path / "ckpt").iterdir()] == ["tiny.pt"]


@pytest.mark.parametrize("last", [5, STEPS])
def test_a_step_whose_score_was_due_when_it_was_told_to_stop_is_scored_at_last(tmp_path, last):
    asked = []

    def watch(step, network, log):
        asked.append(step)
        return {5: 0.9, 10: 0.5, STEPS: 1.0}[step]

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, counted([], at=f"a{last - 1}", do=partial(signal.raise_signal, signal.SIGTERM)), watch=watch,
              watch_every=5, save_every=1000)  # fmt: skip
    train(tmp_path, watch=watch, watch_every=5, save_every=1000)
    assert asked == [5, 10, STEPS]
    assert [path.name for path in (tmp_path / "ckpt").iterdir()] == ["tiny.pt"]


def test_without_a_watch_the_state_of_the_lowest_loss_is_the_best(tmp_path):
    def losses(network, batch):
        return {"loss": squares(network, batch)["loss"] * 0 + abs(int(batch["id"][0][1:]) - 4)}  # 0 in the fifth step

    with pytest.raises(Stopped):
        train(
            tmp_path,
            lambda network, batch: stop() if batch["id"] == ["a9", "b9"] else losses(network, batch),
            save_every=1,
        )
    assert state_steps(tmp_path) == [5, 8, 9]


def test_a_damaged_state_gives_way_to_the_one_before_it(tmp_path, whole, capsys):
    with pytest.raises(Stopped):
        train(tmp_path / "parts", counted([], at="a10", do=stop))
    folder = StateFolder(tmp_path / "parts/ckpt/tiny_state")
    assert folder.steps() == [4, 8]
    folder.file(8).write_bytes(folder.file(8).read_bytes()[:-300])
    seen = []
    train(tmp_path / "parts", counted(seen))
    assert seen[0] == "a4" and "00000008.pt: is no whole checkpoint" in capsys.readouterr().out
    assert_equal(whole, weights(tmp_path / "parts"))


def test_states_of_which_none_is_whole_are_not_passed_over_in_silence(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, counted([], at="a6", do=stop))
    StateFolder(tmp_path / "ckpt/tiny_state").file(4).write_bytes(b"")
    with pytest.raises(UserError, match="tiny_state: holds no whole state: delete it to train anew"):
        train(tmp_path)


def test_a_full_disk_ends_training_with_one_line_and_keeps_the_state_before(tmp_path, monkeypatch):
    def full(state, file):
        if state["step"] == 8:
            file.write(b"half")
            raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")
        original(state, file)

    original = torch.save
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="00000008.pt: cannot be written: is the disk full"):
        train(tmp_path)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "ckpt/tiny_state").iterdir()] == ["00000004.pt"]
    seen = []
    train(tmp_path, counted(seen))
    assert seen[0] == "a4"


def test_a_result_that_cannot_be_written_costs_no_training(tmp_path, monkeypatch):
    """The states go once it is there."""

    def full(path, *given, **more):
        raise UserError(f"{path}: cannot be written: is the disk full?")

    monkeypatch.setattr("tool.trainer.save_result", full)
    with pytest.raises(UserError, match="tiny.pt: cannot be written"):
        train(tmp_path)
    monkeypatch.undo()
    assert state_steps(tmp_path) == [4, 8]
    seen = []
    train(tmp_path, counted(seen))
    assert seen[0] == "a8"


def test_states_are_removed_once_every_process_has_looked_for_them(tmp_path):
    """Or one of them would find none, and begin anew, where the main one continues."""

    class Two(Dist):
        def barrier(self):
            met.append(state_steps(tmp_path))

    with pytest.raises(Stopped):
        train(tmp_path, counted([], at="a6", do=stop))
    met = []
    trainer = trainer_of(tmp_path, dist=Two(0, 2, torch.device("cpu")), steps=STEPS, resume="never")
    assert trainer.restore() == 0 and met == [[4]] and state_steps(tmp_path) == []


def test_states_and_results_name_the_revision_of_the_code(tmp_path):
    train(tmp_path)
    assert load_state(tmp_path / "ckpt/tiny.pt")["revision"] == revision()
