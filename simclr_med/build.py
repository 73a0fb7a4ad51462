"""From a configuration to strategy, bags, cases and model: what training and evaluation share."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from simclr_med import cluster, distribution
from simclr_med.config import Config
from simclr_med.data import Bags, folds, label_fraction
from simclr_med.data.cases import Cases, read_cases
from simclr_med.data.labels import LabelReading
from simclr_med.errors import UserError
from simclr_med.keras_api import keras
from simclr_med.models import Model


def set_up(config: Config) -> tf.distribute.Strategy:
    """Returns the strategy, after fixing seeds, kernels and precision for the whole process."""
    device = config.device
    check_folders(config)
    strategy = distribution.make_strategy(
        use_tpu=device.use_tpu,
        tpu_name=device.tpu_name,
        tpu_zone=device.tpu_zone,
        gcp_project=device.gcp_project,
        master=device.master,
        cpu_replicas=device.cpu_replicas,
        cluster=cluster.find(device.num_workers),
    )
    if device.deterministic:
        tf.config.experimental.enable_op_determinism()
    if device.jit_compile and strategy.num_replicas_in_sync > 1:
        raise UserError("--jit_compile works with one replica; TPUs are compiled without it.")
    set_precision(config)
    return strategy


def set_precision(config: Config) -> None:
    """Applies --mixed_precision to the layers that are made from now on."""
    keras.mixed_precision.set_global_policy(
        "mixed_bfloat16" if config.device.mixed_precision else "float32"
    )


def open_bags(config: Config, builder, split: str, **options: bool) -> Bags:
    """Returns a split's bags, read as the configuration says.

    Args:
      config: with how labels and projections are read.
      builder: of the prepared dataset.
      split: its name, a slice of it, or a fold (see `data.folds`).
      **options: of `data.open_split`, such as with_metadata=True.
    """
    return folds.open_part(builder, split, LabelReading.of(config.data), **options)


def label_reading(config: Config, bags: Bags) -> dict[str, str]:
    """Returns how the labels were read, for the files of a run; {} for data that is not multi-label.

    Args:
      config: of the run.
      bags: of a split.
    """
    return dataclasses.asdict(LabelReading.of(config.data)) if bags.multilabel else {}


def labelled_cases(config: Config, bags: Bags) -> tuple[Cases, np.ndarray]:
    """Returns the cases of the training split, and which of them train with their label, bool [n].

    Args:
      config: of the run; --label_fraction and the seeds choose.
      bags: of the training split.

    Raises:
      UserError: no case has a label.
    """
    cases = read_cases(bags, 0)
    if not cases.labelled.any():
        raise UserError(f"Split '{config.data.train_split}' has no labelled case.")
    return cases, chosen_cases(config, cases)


def chosen_cases(config: Config, cases: Cases) -> np.ndarray:
    """Returns which cases of the training split train with their label, bool [n].

    Args:
      config: of the run; --label_fraction and the seeds choose.
      cases: of the training split, n of them.
    """
    seed = config.run.seed if config.data.label_seed is None else config.data.label_seed
    return label_fraction.chosen_cases(cases, config.data.label_fraction, seed)


def make_model(config: Config, num_classes: int) -> Model:
    """Returns a built model with the initial weights of `--seed`; call it in the strategy's scope.

    While pretraining there is a supervised head only with `--lineareval_while_pretraining`.

    Args:
      config: of the run, its input range settled.
      num_classes: of the supervised head; 0 without one.
    """
    keras.utils.set_random_seed(config.run.seed)
    finetune = config.run.train_mode == "finetune"
    with_head = finetune or config.train.lineareval_while_pretraining
    zero = config.train.zero_init_logits_layer or (finetune and config.train.init_head == "zero")
    model = Model(
        config.model,
        image_size=config.augment.image_size,
        num_classes=num_classes if with_head else 0,
        with_projection=not finetune,
        zero_init_logits=zero,
    )
    model.build_weights(config.augment.image_size)
    if finetune and config.train.fine_tune_after_block >= 0:
        model.encoder.freeze(config.train.fine_tune_after_block)
    return model


def check_folders(config: Config) -> None:
    """Checks that folders are remote where the TPU is another machine, which opens the files itself.

    Raises:
      UserError: a folder is local.
    """
    address = config.device.tpu_name or config.device.master
    if not address or address == "local":
        return
    folders = {"model_dir": config.run.model_dir, "data_dir": config.data.data_dir}
    local = [f"--{n}={f or '(unset)'}" for n, f in folders.items() if "://" not in (f or "")]
    if local:
        raise UserError(
            f"The TPU at {address} reads and writes files itself and cannot see {', '.join(local)}: "
            "name gs:// folders. (On the TPU VM leave out --tpu_name and --master.)"
        )
