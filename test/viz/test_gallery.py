from viz.gallery import choose

MIOUS = {"a": 0.9, "b": 0.2, "c": 0.5, "d": 0.4}


def shown(groups):
    return {title: [image_id for image_id, _ in items] for title, _, items in groups}


def test_groups_are_sorted_by_gain_loss_and_miou():
    groups = choose(list("abcd"), 2, MIOUS, {"a": 0.1, "b": -0.3, "c": 0.25, "d": -0.05}, "over the baseline")
    lists = shown(groups)
    assert list(lists) == ["Gained most", "Lost most", "Best", "Worst", "Random"]
    assert lists["Gained most"] == ["c", "a"] and lists["Lost most"] == ["b", "d"]
    assert lists["Best"] == ["a", "c"] and lists["Worst"] == ["b", "d"]
    assert groups[0][2][0] == ("c", "mIoU 50.0 (+25.0)") and "over the baseline" in groups[0][1]


def test_an_image_that_gains_nothing_is_no_gain():
    lists = shown(choose(list("abcd"), 3, MIOUS, {"a": 0.0, "b": -0.1}, ""))
    assert "Gained most" not in lists and lists["Lost most"] == ["b"]


def test_random_images_are_the_same_each_time_and_need_no_masks():
    ids = [str(number) for number in range(50)]
    one, two = (shown(choose(ids, 4, {}, {}, "")) for _ in range(2))
    assert one == two and list(one) == ["Random"] and len(set(one["Random"])) == 4 and set(one["Random"]) <= set(ids)
