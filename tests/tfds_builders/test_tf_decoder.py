"""TensorFlow's decoders, asked before training: what they leave for the rest of the process."""

import tensorflow as tf

from tfds_builders import tf_decoder


def test_the_session_leaves_all_cores_and_devices_to_training(monkeypatch):
    """TensorFlow sizes the pool of every later op by the first session (local_device.cc); measured,
    training in a process that had built took 1.7 times as long with one thread, on two cores."""
    configs, session = [], tf.compat.v1.Session

    def noted(graph, config):
        configs.append(config)
        return session(graph=graph, config=config)

    monkeypatch.setattr(tf.compat.v1, "Session", noted)
    assert len(tf_decoder._decoders.__wrapped__()) == 3
    (config,) = configs
    assert config.intra_op_parallelism_threads == 0  # as many as there are cores
    assert config.device_count == {"GPU": 0}
