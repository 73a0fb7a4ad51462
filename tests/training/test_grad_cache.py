"""--micro_batch: loss, gradients and moving statistics of a batch that is encoded in chunks.

Compared with one tape over the forward passes of all chunks (grad_cache_steps.slowly), which gets
its views from one augmentation of the whole batch.
"""

import numpy as np
import pytest
import tensorflow as tf

from helpers import ROOT, tiny_runs
from helpers import grad_cache_steps as steps
from helpers.processes import environments, finish, start
from simclr_med import distribution, out_of_memory
from simclr_med.augment import device_ops
from simclr_med.commands.main import main
from simclr_med.errors import UserError
from simclr_med.keras_api import keras
from simclr_med.training import loop

HALVES = [[0, 1, 2, 3], [4, 5, 6, 7]]
FINETUNE = dict(train_mode="finetune")


pytestmark = pytest.mark.usefixtures("one_block")


@pytest.fixture
def float64():
    before = keras.mixed_precision.global_policy()  # which counts, once any test has set it
    keras.backend.set_floatx("float64")
    keras.mixed_precision.set_global_policy("float64")
    yield
    keras.backend.set_floatx("float32")
    keras.mixed_precision.set_global_policy(before)


def assert_equal(actual, expected, tolerance):
    """Each tensor, by its largest entry."""
    assert set(actual) == set(expected)
    for name, value in expected.items():
        error = np.abs(actual[name] - value).max()
        assert error <= tolerance * np.abs(value).max(), name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param(  # adam: all kernels decay in the loss
            {"nt_xent_chunk": 3, "remat": True, "optimizer": "adam"}, marks=pytest.mark.slow
        ),
        {**FINETUNE, "ft_proj_selector": 1, "fine_tune_after_block": 0},
    ],
    ids=str,
)
def test_a_step_in_chunks_is_one_pass_with_batch_norm_per_chunk(float64, changes):
    config = steps.CONFIG.replace(**changes)
    actual = steps.in_chunks(config.replace(micro_batch=4), distribution.make_strategy())
    expected = steps.slowly(config.replace(nt_xent_chunk=0, remat=False), HALVES)
    assert_equal(actual, expected, 1e-6)
    assert sum(np.abs(v).max() > 1e-4 for n, v in actual.items() if "gradient" in n) > 6


@pytest.mark.slow
def test_chunks_of_one_size_as_of_another_and_in_float32():
    quarters = np.arange(8).reshape(4, 2).tolist()
    actual = steps.in_chunks(steps.CONFIG.replace(micro_batch=2), distribution.make_strategy())
    assert_equal(actual, steps.slowly(steps.CONFIG, quarters), 1e-6)


@pytest.mark.slow
def test_fixed_shapes_fill_the_places_of_a_chunk(float64):
    config = steps.CONFIG.replace(**FINETUNE)
    strategy = distribution.make_strategy()
    actual = steps.in_chunks(config.replace(micro_batch=4), strategy, fixed_shapes=True)
    assert_equal(actual, steps.slowly(config, HALVES, padded=True), 1e-6)


@pytest.mark.slow
def test_xla_compiles_the_chunks(float64, monkeypatch):
    """Pixels that XLA rounds alike: in float32 a ReLU or a pooled maximum may go the other way."""
    plain = dict(color_jitter_strength=0.0, grayscale_probability=0.0, use_blur=False)
    monkeypatch.setattr(steps, "ops_of", lambda _: device_ops(**plain))
    config, strategy = steps.CONFIG.replace(micro_batch=4), distribution.make_strategy()
    compiled = steps.in_chunks(config, strategy, fixed_shapes=True, compiled=True)
    assert_equal(compiled, steps.slowly(steps.CONFIG, HALVES), 1e-6)


@pytest.mark.slow
def test_two_replicas_share_the_statistics_of_a_chunk(float64, tmp_path):
    """Their loops go round together: a chunk is two examples of each replica."""
    out = tmp_path / "out.npz"
    worker = ROOT / "tests" / "helpers" / "grad_cache_steps.py"
    log = tmp_path / "log"
    running = start([worker, 2, out], environments(1)[0], log, tmp_path)
    assert finish([running], timeout=3600) == [0], log.read_text()
    chunks = [[0, 1, 4, 5], [2, 3, 6, 7]]  # replicas hold 0 to 3 and 4 to 7
    assert_equal(dict(np.load(out)), steps.slowly(steps.CONFIG, chunks), 1e-6)


def test_the_graph_is_the_same_for_any_number_of_chunks():
    """Chunks that were unrolled could be alive together."""

    def nodes(micro_batch):
        config = steps.CONFIG.replace(micro_batch=micro_batch)
        trained, batch = steps.make_trained(config), steps.batch_of(config)
        one_step = steps.make_one_step(
            config, steps.METHODS["simclr"], trained, steps.ops_of(config), fixed_shapes=False
        )
        tensors = {name: tf.constant(value) for name, value in batch.items()}
        graph = tf.function(one_step, autograph=False).get_concrete_function(tensors).graph
        definition = graph.as_graph_def()
        inside = [node for f in definition.library.function for node in f.node_def]
        return sum(node.op == "Conv2D" for node in [*definition.node, *inside])

    assert nodes(1) == nodes(4) > 0


def command(builder, root, *flags):
    return [
        "run.py",
        f"--manual_dir={builder.builder_config.manifest.folder}",
        f"--data_dir={builder._data_dir_root}",
        f"--model_dir={root / 'run'}",
        *(
            f"--{name}={value}"
            for name, value in tiny_runs.BASE.to_dict().items()
            if value != steps.Config().to_dict()[name]
        ),
        *flags,
    ]


@pytest.mark.slow
def test_the_command_trains_and_one_chunk_is_the_run_without_chunks(tiny_data, tmp_path):
    """The same views, and statistics that move once a step."""
    shown, readers = [], []
    for micro_batch in (0, 2, 4):
        folder = tmp_path / f"run{micro_batch}"
        flags = f"--micro_batch={micro_batch}", f"--model_dir={folder}", "--learning_rate=0.1"
        assert main(command(tiny_data, tmp_path, *flags)) == 0
        shown.append((folder / "metrics.jsonl").read_text().splitlines())
        readers.append(tf.train.load_checkpoint(str(folder)))
    assert [len(lines) for lines in shown] == [2, 2, 2]
    assert shown[1] != shown[0]  # BatchNorm saw two pairs, not four
    names = [n for n in readers[0].get_variable_to_shape_map() if "OBJECT_GRAPH" not in n]
    assert any("moving_variance" in name for name in names)
    for name in names:
        plain, _, whole = (reader.get_tensor(name) for reader in readers)
        np.testing.assert_allclose(whole, plain, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_micro_batch_that_does_not_divide_is_refused(tiny_data, tmp_path, capsys):
    assert main(command(tiny_data, tmp_path, "--micro_batch=3")) == 2
    assert "--micro_batch=3 does not divide the 4 examples" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flags, named",
    [
        ([], ["--mixed_precision", "--remat", "--nt_xent_chunk", "--micro_batch=2"]),
        (
            ["--remat", "--micro_batch=2"],
            ["--mixed_precision", "--nt_xent_chunk", "--micro_batch=1"],
        ),
        (["--train_mode=finetune", "--mixed_precision"], ["--remat", "--micro_batch=2"]),
    ],
)
def test_out_of_memory_names_what_helps(tiny_data, monkeypatch, tmp_path, capsys, flags, named):
    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nmore")

    monkeypatch.setattr(loop, "make_run_steps", lambda *_: exhausted)
    try:
        assert main(command(tiny_data, tmp_path, *flags)) == 2
    finally:
        keras.mixed_precision.set_global_policy("float32")
    errors = capsys.readouterr().err
    remedies = ["--mixed_precision", "--remat", "--nt_xent_chunk", "--micro_batch"]
    assert all(name in errors for name in named)
    assert sum(name in errors for name in remedies) == len(named)
    assert "smaller --train_batch_size or --image_size" in errors
    assert "OOM when allocating tensor" in errors and "more\n" not in errors


@pytest.mark.parametrize(
    "error, explained",
    [
        (tf.errors.InternalError(None, None, "RESOURCE_EXHAUSTED: Out of memory, 12 bytes"), True),
        (tf.errors.ResourceExhaustedError(None, None, "x; No space left on device"), False),
        (tf.errors.InternalError(None, None, "something else"), False),
    ],
)
def test_only_what_is_about_memory_is_explained(error, explained):
    expected = UserError if explained else type(error)
    with pytest.raises(expected), out_of_memory.explained(steps.CONFIG, 1):
        raise error
