"""BiT's public naming: .npz and SavedModels, against a forward pass in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from helpers.bit_layout import UNITS, public
from helpers.weights_checks import make
from simclr_med import checkpoints
from simclr_med.checkpoints.weights import open_weights
from simclr_med.config import ModelConfig
from simclr_med.errors import UserError
from simclr_med.models import Model, bit


def windows(x, size, stride):
    """Returns the size x size windows of x [n, H, W, c] at every stride, [n, h, w, c, size, size]."""
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return view[:, ::stride, ::stride]


def conv(x, kernel, stride):
    """Returns a convolution with a standardised kernel: mean 0, variance 1 for each output."""
    mean, variance = kernel.mean((0, 1, 2)), kernel.var((0, 1, 2))
    kernel = (kernel - mean) / np.sqrt(variance + 1e-10)
    size = kernel.shape[0]
    side = ((size - 1) // 2, size - 1 - (size - 1) // 2)
    patches = windows(np.pad(x, ((0, 0), side, side, (0, 0))), size, stride)
    return np.tensordot(patches, kernel, ([4, 5, 3], [0, 1, 2]))


def norm_relu(x, gamma, beta):
    """Returns ReLU of GroupNorm over 32 groups: mean and variance over places and a group."""
    n, h, w, c = x.shape
    grouped = x.reshape(n, h, w, 32, c // 32)
    mean = grouped.mean((1, 2, 4), keepdims=True)
    variance = grouped.var((1, 2, 4), keepdims=True)
    normed = ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    return np.maximum(normed * gamma + beta, 0)


def forward(arrays, images, units=UNITS):
    """Returns features of images [n, H, W, 3] in [0, 1], in float64."""
    p = {name.removeprefix("resnet/"): value.astype(float) for name, value in arrays.items()}

    def kernel(name):
        return p[f"{name}/standardized_conv2d/kernel"]

    def norm(x, name):
        return norm_relu(x, p[f"{name}group_norm/gamma"], p[f"{name}group_norm/beta"])

    x = conv(images * 2.0 - 1.0, kernel("root_block"), 2)
    x = windows(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, 2).max((4, 5))
    for b, number in enumerate(units, 1):
        for u in range(1, number + 1):
            prefix, stride = f"block{b}/unit{u:02d}", 2 if u == 1 and b > 1 else 1
            y = norm(x, f"{prefix}/a/")
            shortcut = conv(y, kernel(f"{prefix}/a/proj"), stride) if u == 1 else x
            y = norm(conv(y, kernel(f"{prefix}/a"), 1), f"{prefix}/b/")
            y = norm(conv(y, kernel(f"{prefix}/b"), stride), f"{prefix}/c/")
            x = shortcut + conv(y, kernel(f"{prefix}/c"), 1)
    return norm(x, "").mean((1, 2))


def test_r50x1_at_64_px_equals_numpy(tmp_path):
    arrays = public()
    np.savez(tmp_path / "BiT-M.npz", **arrays)
    model = Model(ModelConfig(encoder="bit"), image_size=64)
    model.build_weights(64)
    summary = checkpoints.load(model, str(tmp_path / "BiT-M.npz"))
    count = len(arrays) - 2  # but the head's
    assert f"encoder {count}/{count}" in summary and "projection head new" in summary
    images = np.random.default_rng(1).random((2, 64, 64, 3), np.float32)
    expected = forward(arrays, images.astype(float))
    features = model.encoder(images, training=False)
    # Rounding: over five seeds this was 0.7e-5 to 1.03e-5, and `forward` in float32 itself is
    # 1.1e-5 to 1.5e-5 off from float64, so 1e-5 is below what float32 can promise here.
    assert np.abs(features - expected).max() <= 3e-5 * np.abs(expected).max()


SHORT = (1, 2)


@pytest.fixture
def two_blocks(monkeypatch):
    monkeypatch.setitem(bit.UNITS_PER_GROUP, 50, SHORT)


def loaded_values(model):
    """Returns the encoder's variables, sorted by content, for comparison with a file's."""
    return sorted((tuple(v.shape), v.numpy().tobytes()) for v in model.encoder.variables)


def expected(arrays):
    return sorted((a.shape, a.tobytes()) for n, a in arrays.items() if "/head/" not in n)


class Flat(tf.Module):
    """Holds variables in a list under names of TensorFlow, as a module that was converted does."""

    def __init__(self, arrays, rename):
        super().__init__()
        self.all = [tf.Variable(value, name=rename(name)) for name, value in arrays.items()]


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: name.removeprefix("resnet/"),
        lambda name: f"base_model/bit/module/{name}",
        lambda name: name.replace("b/group_norm", "b/group_norm_1"),
    ],
    ids=["public", "bare", "REMEDIS", "numbered"],
)
def test_saved_models_are_read_by_the_names_of_variables(rename, two_blocks, tmp_path):
    arrays = public(SHORT)
    module = Flat(arrays, rename)
    module.other = tf.Variable(1.0, name="projection/dense")
    tf.saved_model.save(module, str(tmp_path / "hub"))
    model = make(encoder="bit")
    checkpoints.load(model, str(tmp_path / "hub"))
    assert loaded_values(model) == expected(arrays)
    weights = open_weights(str(tmp_path / "hub"))
    assert (weights.encoder, weights.input_range, weights.num_other) == ("bit", "symmetric", 1)


def test_checkpoints_of_tensorflow_1_are_read_where_the_names_are_bits(two_blocks, tmp_path):
    arrays = public(SHORT)
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        for name, value in arrays.items():
            v1.get_variable(f"base_model/{name}", initializer=value, use_resource=True)
        session.run(v1.global_variables_initializer())
        prefix = v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    model = make(encoder="bit")
    checkpoints.load(model, prefix)
    assert loaded_values(model) == expected(arrays)


def test_an_optimizers_slots_are_no_part_of_the_encoder(two_blocks, tmp_path):
    arrays = public(SHORT)
    slots = {f"{name}/Momentum": np.zeros_like(value) for name, value in arrays.items()}
    tf.saved_model.save(Flat({**arrays, **slots}, str), str(tmp_path / "hub"))
    model = make(encoder="bit")
    checkpoints.load(model, str(tmp_path / "hub"))
    assert loaded_values(model) == expected(arrays)
    assert open_weights(str(tmp_path / "hub")).num_other == len(slots)


def test_two_bits_in_one_file_are_refused(two_blocks, tmp_path):
    arrays = public(SHORT)
    twice = {**arrays, **{f"ema/{name}": value for name, value in arrays.items()}}
    np.savez(tmp_path / "twice.npz", **twice)
    with pytest.raises(UserError, match="more than once"):
        checkpoints.load(make(encoder="bit"), str(tmp_path / "twice.npz"))


def test_a_wider_one_is_refused_with_its_flags(two_blocks, tmp_path):
    np.savez(tmp_path / "wide.npz", **public(SHORT, width=3))
    with pytest.raises(UserError, match="a BiT ResNet-50, width 3") as error:
        checkpoints.load(make(encoder="bit"), str(tmp_path / "wide.npz"))
    assert "--resnet_depth=50 --width_multiplier=3." in str(error.value)
    with pytest.raises(UserError, match="--encoder=bit --resnet_depth=50 --width_multiplier=3"):
        checkpoints.load(make(resnet_depth=50), str(tmp_path / "wide.npz"))


def test_a_missing_variable_is_refused(two_blocks, tmp_path):
    arrays = public(SHORT)
    del arrays["resnet/block2/unit02/b/group_norm/beta"]
    np.savez(tmp_path / "part.npz", **arrays)
    with pytest.raises(UserError, match="1 of .* missing, as encoder/groups/1/1/norms/1/beta"):
        checkpoints.load(make(encoder="bit"), str(tmp_path / "part.npz"))


def test_more_units_than_the_model_are_refused(two_blocks, tmp_path):
    np.savez(tmp_path / "deep.npz", **public((1, 3)))
    with pytest.raises(UserError, match="variables more, as encoder/groups/1/2/"):
        checkpoints.load(make(encoder="bit"), str(tmp_path / "deep.npz"))


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_pickled_objects_are_never_unpickled(two_blocks, tmp_path):
    arrays = public(SHORT)
    arrays["resnet/group_norm/beta"] = np.array([Bomb(str(tmp_path / "boom"))], dtype=object)
    np.savez(tmp_path / "evil.npz", **arrays)
    with pytest.raises(UserError, match="resnet/group_norm/beta is a pickled Python object"):
        checkpoints.load(make(encoder="bit"), str(tmp_path / "evil.npz"))
    assert not (tmp_path / "boom").exists()


def test_other_zipped_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(UserError, match="holds no BiT: none of its 1 arrays"):
        checkpoints.load(make(encoder="bit"), str(tmp_path / "other.npz"))
