"""Weights of --checkpoint with their own head, saved as a run of no steps, so that all of evaluation
works on them: SimCLR's published fine-tuned and supervised checkpoints, an export, another run.
"""

from __future__ import annotations

import os

import tensorflow as tf

from simclr_med import checkpoints, run_folder
from simclr_med.build import make_model, open_bags
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints.weights import Classes, input_range, open_weights
from simclr_med.config import Config
from simclr_med.data import DATA_ORDER
from simclr_med.errors import UserError
from simclr_med.export import source
from simclr_med.optim import make_optimizer
from simclr_med.run_folder import data_json, gfile, provenance

KEY = "adopted_weights"  # in config.json: what they are, in words


def adopt(
    config: Config, builder, model_dir: str, strategy: tf.distribute.Strategy, invocation: dict
) -> Config:
    """Writes the weights as checkpoint 0 of a fine-tuned run; returns its configuration.

    What they were trained on is unknown here, and config.json says so. A folder that holds the same
    weights already stays as it is.

    Args:
      config: of a fine-tuning from --checkpoint.
      builder: of the prepared dataset to evaluate on, whose classes must be the head's.
      model_dir: the folder; made if it is missing.
      strategy: from `build.set_up`.
      invocation: what the command line said, for flags.json.

    Raises:
      UserError: no such weights, or they do not fit; a dataset without classes; or a folder that
        holds another run.
    """
    weights = open_weights(str(config.run.checkpoint))
    source.note_image_size(config, weights)
    config = input_range.resolve(config, model_dir, weights)
    bags = open_bags(config, builder, config.data.eval_split)
    if not bags.class_names:
        raise UserError(
            f"--keep_head needs a dataset with labels; {builder.info.full_name} has none."
        )
    path = os.path.join(model_dir, "config.json")
    identity = (config, data_json.name_of(builder), bags.class_names)
    if gfile.exists(path):
        if KEY not in run_folder.read_json(path):
            raise UserError(
                f"--model_dir={model_dir} holds a run, and --checkpoint names other weights: give "
                "another --model_dir, or leave out --checkpoint and --keep_head to evaluate the run."
            )
        run_folder.check_same_run(model_dir, *identity)
        return config
    with strategy.scope():
        model = make_model(config, len(bags.class_names))
    print(checkpoints.load(model, weights, Classes(bags.class_names, bags.multilabel)))
    print("They are evaluated as they are: nothing is trained.")
    with run_folder.results_locked(model_dir), run_folder.locked(model_dir):
        if gfile.exists(path):  # by another evaluation of them, meanwhile
            run_folder.check_same_run(model_dir, *identity)
            return config
        _save(config, model, model_dir)
        run_folder.write_config(model_dir, *identity, DATA_ORDER, None, provenance.software())
        values = {**run_folder.read_json(path), KEY: f"{weights.path} ({weights.kind})"}
        run_folder.write_json(path, values)
        run_folder.write_json(os.path.join(model_dir, "flags.json"), invocation)
        data_json.write_classes(model_dir, bags)
    return config


def _save(config: Config, model, model_dir: str) -> None:
    checkpoint_files.remove_leftovers(model_dir)
    optimizer = make_optimizer("momentum", 0.1, momentum=0.0, weight_decay=0.0, model=model)
    optimizer.build(model.trainable_variables)
    with checkpoints.RunCheckpoints(model_dir, model, optimizer, max_to_keep=1) as saved:
        saved.save()
