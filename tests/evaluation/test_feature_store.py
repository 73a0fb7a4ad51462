"""Features that are kept: equal to computed ones, and only for the very same weights and images.

What it finds: features of other weights, images or preprocessing taken for those asked for; a damaged
file or a full disk that ends an evaluation; a second pass over images that were seen; cases that are
lost, or counted twice, where a stopped computation goes on.
"""

import errno
import io
import json

import numpy as np
import pytest
import tensorflow as tf

from helpers import encoders
from helpers.tiny_runs import BASE
from simclr_med import build, data, run_folder
from simclr_med.errors import UserError
from simclr_med.evaluation import evaluate, feature_store, features

pytestmark = pytest.mark.usefixtures("one_block")


def model_like(model, strategy, seed, **change):
    """Returns a model with the encoder of another, the rest being random."""
    with pytest.MonkeyPatch.context() as patch, strategy.scope():
        encoders.shorten(patch)
        model_of_seed = build.make_model(BASE.replace(seed=seed, **change), 2)
        if model is not None:
            for variable, value in zip(
                model_of_seed.encoder.variables, model.encoder.variables, strict=True
            ):
                variable.assign(value)
    return model_of_seed


@pytest.fixture(scope="module")
def models(strategy):
    """Two models of one encoder each; the third has the first's encoder and another projection head."""
    first, second = (model_like(None, strategy, seed) for seed in (0, 1))
    return first, second, model_like(first, strategy, 2)


@pytest.fixture
def world(tiny_data, strategy, monkeypatch, tmp_path):
    """A function that returns features, and in how many batches images were seen for them."""

    def see(config=BASE, split="all", cases=0, **models):
        batches = []

        def spy(*args, **options):
            batches.append(options["batch_size"])
            return data.evaluation_batches(*args, **options)

        monkeypatch.setattr(features, "evaluation_batches", spy)
        config = config.replace(features_dir=str(tmp_path / "kept"))
        bags = build.open_bags(config, tiny_data, split)
        result = features.case_features(config, strategy, models, bags, cases)
        return result, len(batches)

    see.folder = tmp_path / "kept"
    return see


def test_they_are_those_that_were_computed(world, models, tiny_data, strategy, capsys):
    bags = build.open_bags(BASE, tiny_data, "all")
    expected = features.case_features(BASE, strategy, {"a": models[0], "b": models[1]}, bags)
    first, passes = world(a=models[0])
    assert passes == 1 and "are read from" not in capsys.readouterr().out
    second, passes = world(b=models[1], a=models[0])
    assert passes == 1 and list(second) == ["b", "a"]  # for b
    third, passes = world(a=models[0], b=models[1])
    assert passes == 0 and "Features of 12 cases are read from" in capsys.readouterr().out
    for result in (first, second, third):
        for name, value in result.items():
            np.testing.assert_array_equal(value, expected[name])
            assert type(value) is np.ndarray and value.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        third["a"][0] = 0


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"image_size": 36}, True),
        ({"antialias": "false"}, True),
        ({"max_bag_size": 2}, True),
        ({"eval_batch_size": 3}, False),
        ({"temperature": 0.5}, False),
        ({"seed": 5}, False),  # no case has more images than --max_bag_size
        ({"max_bag_size": 9}, True),
    ],
)
def test_what_decides_them_and_what_does_not(world, models, change, again):
    world(a=models[0])
    _, passes = world(BASE.replace(**change), a=models[0])
    assert passes == again


def test_the_seed_counts_where_images_of_a_case_are_drawn(world, models):
    few = BASE.replace(max_bag_size=2)
    world(few, a=models[0])
    assert world(few, a=models[0])[1] == 0
    assert world(few.replace(seed=5), a=models[0])[1] == 1


def test_weights_count_as_far_as_features_depend_on_them(world, models, strategy):
    first, second, third = models
    world(a=first)
    assert world(a=second)[1] == 1  # another encoder
    assert world(a=third)[1] == 0  # another projection head, which nothing passes
    behind = {"ft_proj_selector": 1}
    features_behind = []
    for seed in (3, 4):
        model = model_like(first, strategy, seed, **behind)
        features_of_it, passes = world(BASE.replace(**behind), a=model)
        assert passes == 1 and world(BASE.replace(**behind), a=model)[1] == 0
        features_behind.append(features_of_it["a"])
    assert not np.allclose(*features_behind)
    second.encoder.variables[0].assign_add(tf.ones_like(second.encoder.variables[0]))
    assert world(a=second)[1] == 1


def test_other_cases_are_not_taken_for_these(world, models):
    all_features, _ = world(a=models[1])
    for split, cases in (("train", 0), ("validation", 0), ("all", 5), ("all:fold_1_of_2", 0)):
        part, passes = world(split=split, cases=cases, a=models[1])
        assert passes == 1 and len(part["a"]) < len(all_features["a"])
        again, passes = world(split=split, cases=cases, a=models[1])
        assert passes == 0
        np.testing.assert_array_equal(again["a"], part["a"])
    hidden, passes = world(BASE.replace(label_fraction=0.5), a=models[1])  # labels are no pixels
    assert passes == 0


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "no_facts", "bad_facts"])
def test_a_damaged_file_is_computed_again(world, models, tmp_path, damage, capsys):
    expected, _ = world(a=models[0])
    (array,), (facts,) = ((tmp_path / "kept").glob(f"*.{kind}") for kind in ("npy", "json"))
    damaged = {"cut": array.read_bytes()[:-8], "empty": b"", "foreign": b"something else"}
    if damage in damaged:
        array.unlink()  # `expected` is mapped to it
        array.write_bytes(damaged[damage])
    elif damage == "no_facts":
        facts.unlink()
    else:
        facts.write_text("{")
    result, passes = world(a=models[0])
    assert passes == 1 and ("computed again" in capsys.readouterr().out) == (damage != "no_facts")
    np.testing.assert_array_equal(result["a"], expected["a"])
    assert world(a=models[0])[1] == 0


class Killed(BaseException):
    """Ends a computation at once, as a signal would."""


@pytest.fixture
def stopped(world, monkeypatch):
    """A function like `world` that is killed after so many batches; returns their number."""

    def see(batches, **options):
        means_of_cases = features._means_of_cases

        def some(all_batches, *args):
            def first():
                for number, batch in enumerate(all_batches):
                    if number == batches:
                        raise Killed
                    yield batch

            return means_of_cases(first(), *args)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(features, "_means_of_cases", some)
            world(**options)

    return see


def unfinished(tmp_path):
    return list((tmp_path / "kept").glob("*.unfinished.npy"))


@pytest.fixture
def batches_seen(monkeypatch):
    """How many batches pass the encoder, from here on: a list with an entry each."""
    seen, means_of_cases = [], features._means_of_cases

    def counted(batches, *args):
        return means_of_cases((seen.append(batch) or batch for batch in batches), *args)

    monkeypatch.setattr(features, "_means_of_cases", counted)
    return seen


@pytest.mark.parametrize("batches", range(1, 8))
def test_a_stopped_computation_goes_on_where_it_was(
    world, stopped, models, batches, tmp_path, capsys, tiny_data, strategy, monkeypatch
):
    # 30 images in batches of 4: most ends of batches are amid a case.
    bags = build.open_bags(BASE, tiny_data, "all")
    expected = features.case_features(BASE, strategy, {"a": models[0]}, bags)["a"]
    stopped(batches, a=models[0])
    (file,) = unfinished(tmp_path)
    num_images = bags.known_cases().num_images
    complete = int((num_images.cumsum() < 4 * batches).sum())  # the last one seen may go on
    skipped = []

    def spy(*args, **options):
        skipped.append(options["skip_batches"])
        return data.evaluation_batches(*args, **options)

    capsys.readouterr()
    config = BASE.replace(features_dir=str(tmp_path / "kept"))
    with monkeypatch.context() as patch:
        patch.setattr(features, "evaluation_batches", spy)
        result = features.case_features(config, strategy, {"a": models[0]}, bags)["a"]
    np.testing.assert_array_equal(result, expected)
    assert skipped == [num_images[:complete].sum() // 4]
    said = f"Features of {complete} of 12 cases were computed before" in capsys.readouterr().out
    assert said == (complete > 0) and not file.exists()
    np.testing.assert_array_equal(
        result, np.load(file.with_name(file.name.replace(".unfinished", "")))
    )
    assert world(a=models[0])[1] == 0


def test_of_two_encoders_the_less_complete_decides(world, stopped, models, batches_seen, tiny_data):
    expected, _ = world(a=models[0], b=models[1])
    for path in world.folder.iterdir():
        path.unlink()
    stopped(6, a=models[0])
    stopped(3, b=models[1])
    batches_seen.clear()
    result, _ = world(a=models[0], b=models[1])
    num_images = build.open_bags(BASE, tiny_data, "all").known_cases().num_images
    first_of_b = num_images[num_images.cumsum() < 4 * 3].sum()
    assert len(batches_seen) == 8 - first_of_b // 4 < 8
    for name, rows in result.items():
        np.testing.assert_array_equal(rows, expected[name])


@pytest.mark.parametrize("damage", ["row", "header", "empty", "foreign", "other_shape", "longer"])
def test_a_damaged_beginning_costs_what_is_damaged(world, stopped, models, damage, tmp_path):
    expected, _ = world(b=models[1])
    stopped(4, a=models[0])
    (file,) = unfinished(tmp_path)
    content = file.read_bytes()
    other = io.BytesIO()
    np.save(other, np.ones((5, expected["b"].shape[1]), np.float32))
    file.write_bytes(
        {
            "row": content[:-6],
            "header": content[:50],
            "empty": b"",
            "foreign": b"something else",
            "other_shape": other.getvalue(),
            "longer": content + bytes(len(content) * 9),
        }[damage]
    )
    result, passes = world(a=models[0], b=models[1])
    assert passes == 1 and not unfinished(tmp_path)
    for path in world.folder.iterdir():
        path.unlink()
    undamaged, _ = world(a=models[0])
    np.testing.assert_array_equal(result["a"], undamaged["a"])


def test_another_process_that_computes_them_is_left_alone(world, stopped, models, tmp_path):
    stopped(4, a=models[0])
    (file,) = unfinished(tmp_path)
    content = file.read_bytes()
    with open(file, "a+b") as of_other:
        assert run_folder.try_lock(of_other)
        result, _ = world(a=models[0])
        assert file.read_bytes() == content
    again, passes = world(a=models[0])
    assert passes == 0
    np.testing.assert_array_equal(again["a"], result["a"])


class AlmostFull:
    """A file on a disk with room for some bytes more, which takes a part of what does not fit."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= (taken := min(self.room, len(data)))
        return self.file.write(data[:taken])


@pytest.mark.parametrize("room", [0, 60, 128, 300, 128 + 2 * 40 - 1, 10**6])
def test_what_a_full_disk_took_is_a_beginning(room, tmp_path):
    rows = np.random.default_rng(0).normal(size=(12, 10)).astype(np.float32)
    with open(tmp_path / "rows.npy", "a+b", buffering=0) as file:
        growing = feature_store.Growing(12, AlmostFull(file, room))
        for start, end in ((0, 2), (2, 7), (7, 12)):
            growing.add(start, rows[start:end])
        np.testing.assert_array_equal(growing.rows, rows)
        assert growing.is_complete and (growing.error is None) == (room == 10**6)
    with open(tmp_path / "rows.npy", "a+b", buffering=0) as file:
        resumed = feature_store.Growing(12, file)
        assert resumed.num_done == min(12, max(0, room - 128) // 40)
        resumed.add(0, rows)
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), rows)


def test_a_full_disk_costs_a_note(world, models, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(feature_store.os, "replace", full)
        result, _ = world(a=models[0])
    assert len(result["a"]) == 12
    assert capsys.readouterr().out.count("could not be kept") == 1
    again, passes = world(a=models[0])  # all rows are there
    assert passes == 1 and "Features of 12 of 12 cases were computed" in capsys.readouterr().out
    np.testing.assert_array_equal(again["a"], result["a"])


def test_a_folder_without_the_right_to_write_costs_a_note(world, models, tmp_path, capsys):
    world(b=models[1])
    real = open

    def refuse(path, *args, **options):
        if str(path).endswith(".unfinished.npy"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.open", refuse)
        result, _ = world(a=models[0])
    assert len(result["a"]) == 12
    assert capsys.readouterr().out.count("could not be kept") == 1
    assert not list((tmp_path / "kept").glob("unfinished-*"))


def test_a_remote_folder_is_refused(tiny_data, strategy, models):
    config = BASE.replace(features_dir="gs://bucket/features")
    bags = build.open_bags(config, tiny_data, "all")
    with pytest.raises(UserError, match="features_dir=gs://bucket/features: .* local disk"):
        features.case_features(config, strategy, {"a": models[0]}, bags)


def test_an_evaluation_with_kept_features_says_the_same(
    tiny_pretrained, tiny_data, strategy, tmp_path, monkeypatch
):
    saved = json.loads((tiny_pretrained / "config.json").read_text())
    config = BASE.replace(data_dir=saved["data_dir"], manual_dir=saved["manual_dir"])

    def result(name, **change):
        options = config.replace(eval_name=name, eval_split="validation", **change)
        evaluated = evaluate.evaluate(
            options, tiny_data, str(tiny_pretrained), strategy, pictures=False
        )
        for key in ("provenance", "probes", "files"):  # when, how long and where
            del evaluated[key]
        return json.dumps(evaluated, default=str)

    store = {"features_dir": str(tmp_path / "kept")}
    without, first = result("without"), result("first", **store)
    monkeypatch.setattr(features, "evaluation_batches", lambda *_, **__: pytest.fail("a pass"))
    assert without == first == result("second", **store)
