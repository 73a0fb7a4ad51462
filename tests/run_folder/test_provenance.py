"""Sessions of a run: counted, timed, also of those that failed; and what is told of them, in words."""

import json

import pytest
import tensorflow as tf
from tensorboard.plugins.hparams import plugin_data_pb2

from simclr_med.run_folder import provenance

HARDWARE = {"cpu": "Xeon", "cpus": 4, "memory_gib": 7.5, "accelerators": {"H200": 2}}


def test_sessions_add_up_and_a_killed_one_has_no_end(tmp_path):
    with provenance.session(str(tmp_path), {"argv": ["--a"]}, 0, lambda: 5):
        during = provenance.sessions(str(tmp_path))
    assert len(during) == 1 and "seconds" not in during[0]  # so it looks if it is killed now
    with pytest.raises(KeyError), provenance.session(str(tmp_path), {}, 5, lambda: 7):
        raise KeyError
    first, second = provenance.sessions(str(tmp_path))
    assert (first["from_step"], first["to_step"], first["command"]) == (0, 5, ["--a"])
    assert (second["from_step"], second["to_step"], second["command"]) == (5, 7, None)
    path = tmp_path / provenance.FILE
    rows = [{**first, "seconds": 100.0}, {**second, "seconds": 50.5}]
    del during[0]["software"]["python"]
    path.write_text(json.dumps({"sessions": [*rows, *during]}))
    training = provenance.training_of(str(tmp_path))
    assert (training["sessions"], training["seconds"], training["killed"]) == (3, 150.5, 1)
    assert (
        provenance.in_words(training)
        == "0:02:30 in 3 sessions, without the 1 that was killed or goes on"
    )
    assert provenance.in_words(provenance.training_of(str(tmp_path / "older"))) == ""


def test_what_is_here():
    here = provenance.here(["--x"])
    assert {"simclr_med", "python", "tensorflow", "numpy"} <= set(here["software"])
    assert here["hardware"]["cpus"] >= 1 and here["hardware"]["memory_gib"] > 0.1
    words = provenance.hardware_in_words(HARDWARE)
    assert words == "2 x H200, 4 CPUs (Xeon), 7.5 GiB"
    unknown = {**HARDWARE, "memory_gib": None, "accelerators": {}}
    assert provenance.hardware_in_words(unknown) == "4 CPUs (Xeon)"


@pytest.mark.usefixtures("one_block")
def test_a_run_and_its_evaluation_say_it(tiny_tuned, tmp_path, monkeypatch):
    assert provenance.training_of(str(tiny_tuned))["sessions"] == 1
    saved = json.loads((tiny_tuned / "config.json").read_text())
    assert saved["software"] == provenance.software()
    result = json.loads((tiny_tuned / "result.json").read_text())["provenance"]
    assert result["software"] == saved["software"] and result["training"]["seconds"] > 0


@pytest.mark.usefixtures("one_block")
def test_tensorboard_has_the_flags_that_shape_weights_and_the_evaluation(tiny_tuned):
    tags, named = {}, set()
    for path in (tiny_tuned / "events").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                tags[value.tag] = (
                    float(tf.make_ndarray(value.tensor)) if "/macro" in value.tag else 0
                )
                content = value.metadata.plugin_data
                if content.plugin_name == "hparams":
                    start = plugin_data_pb2.HParamsPluginData.FromString(content.content)
                    named |= set(start.session_start_info.hparams)
    result = json.loads((tiny_tuned / "result.json").read_text())
    row = result["classification"]["supervised head"]["trained"]
    assert tags["eval/macro_auc"] == pytest.approx(row["macro_auc"])
    assert {"learning_rate", "image_size", "label_seed"} <= named
    assert not {"model_dir", "checkpoint", "bag_regex"} & named
