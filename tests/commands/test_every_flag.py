"""Each flag, changed alone, changes something that a run shows: no knob without an effect.

What is compared: weights, metrics and files of a training run, results and files of an evaluation, or
the calls that the command makes; see helpers/effects.py.
"""

import pytest

from helpers.effects import BASE, FINETUNE, TUNED, Effects, draw_photos
from simclr_med.config import FIELDS

REMOTE = {"model_dir": "gs://bucket/run", "data_dir": "gs://bucket/data"}
# flag: (what is looked at, its other value, what else is set in both runs)
CHANGES = {
    "mode": ("command", "train_then_eval", {}),
    "train_mode": ("training", "finetune", {"micle": False}),
    "model_dir": ("command", "elsewhere", {}),
    "checkpoint": ("training", "CHECKPOINT", {}),
    "seed": ("model", 1, {}),
    "checkpoint_epochs": ("training", 2, {"checkpoint_steps": 0, "train_steps": 3}),
    "checkpoint_steps": ("training", 2, {}),
    "keep_checkpoint_max": ("training", 1, {}),
    "keep_hub_module_max": ("evaluation", 2, FINETUNE),
    "dataset": ("command", "derm_bags/demo", {}),
    "manual_dir": ("command", "PHOTOS2", {}),
    "data_dir": ("command", "elsewhere", {}),
    "train_split": ("training", "validation", {}),
    "eval_split": ("evaluation", "more", FINETUNE),
    "selection_split": ("evaluation", "more", FINETUNE),
    "label_fraction": ("training", 0.4, FINETUNE),
    "cache_dataset": ("training", True, {}),
    "shuffle_buffer": ("training", 2, {}),
    "on_bad_image": ("command", "skip", {}),
    "build_long_side": ("command", 20, {}),
    "top_conditions": ("command", 2, {}),
    "bag_regex": ("preparation", "(.)", {}),
    "beam_runner": ("preparation", "DirectRunner", {}),
    "beam_options": ("preparation", "--direct_num_workers=2", {}),
    "label_set": ("bags", "chexpert5", {}),
    "uncertain_policy": ("bags", "ones", {}),
    "blank_policy": ("bags", "ignore", {}),
    "views": ("bags", "frontal", {}),
    "bag_by": ("bags", "patient", {}),
    "max_bag_size": ("training", 1, FINETUNE),
    "image_size": ("model", 20, {}),
    "color_jitter_strength": ("training", 0.5, {}),
    "grayscale_probability": ("training", 1.0, {}),
    "use_blur": ("training", False, {}),
    "rotation_degrees": ("training", 45.0, {}),
    "encoder": ("model", "bit", {"resnet_depth": 50}),
    "resnet_depth": ("model", 34, {}),
    "width_multiplier": ("model", 2, {}),
    "sk_ratio": ("model", 0.0625, {}),
    "se_ratio": ("model", 0.25, {}),
    "input_range": ("model", "symmetric", {}),
    "remat": ("model", True, {}),
    "batch_norm_decay": ("model", 0.5, {}),
    "global_bn": ("model", False, {}),
    "proj_head_mode": ("model", "linear", {}),
    "proj_out_dim": ("model", 4, {}),
    "num_proj_layers": ("model", 2, {}),
    "ft_proj_selector": ("model", 1, {}),
    "micle": ("training", False, {}),
    "temperature": ("training", 0.5, {}),
    "hidden_norm": ("training", False, {}),
    "nt_xent_chunk": ("training", 3, {}),
    "micro_batch": ("training", 2, {}),
    "lineareval_while_pretraining": ("training", False, {}),
    "zero_init_logits_layer": ("model", True, {}),
    "fine_tune_after_block": ("model", 1, FINETUNE),
    "class_weights": ("training", "balanced", {**FINETUNE, "train_split": "validation"}),
    "train_batch_size": ("training", 3, {}),
    "train_epochs": ("training", 2, {"train_steps": 0, "train_epochs": 1}),
    "train_steps": ("training", 1, {}),
    "optimizer": ("training", "adam", {}),
    "learning_rate": ("training", 0.1, {}),
    "learning_rate_scaling": ("training", "sqrt", {}),
    "warmup_epochs": ("training", 1.0, {}),
    "weight_decay": ("training", 0.1, {}),
    "momentum": ("training", 0.5, {}),
    "eval_steps": ("evaluation", 1, {**FINETUNE, "eval_batch_size": 2}),
    "eval_batch_size": ("evaluation", 2, FINETUNE),
    "eval_name": ("evaluation", "again", FINETUNE),
    "selection_metric": ("evaluation", "top_1", {**FINETUNE, "selection_split": "more"}),
    "bootstrap_resamples": ("evaluation", 500, FINETUNE),
    "export_formats": ("export", "keras", {"export_formats": "saved_model"}),
    "embed_unit": ("embedding", "image", FINETUNE),
    "subgroups": ("evaluation", "none", FINETUNE),
    "repeats": ("plan", 3, {}),
    "runs": ("plan", "PREDICTIONS", {}),
    "label_fractions": ("plan", "0.1,1", {}),
    "sweep_learning_rates": ("plan", "0.1", {}),
    "sweep_weight_decays": ("plan", "0", {}),
    "simclr_recipe": ("plan", "RECIPE", {}),
    "micle_recipe": ("plan", "RECIPE", {}),
    "finetune_recipe": ("plan", "RECIPE", {}),
    "shift_dataset": ("plan", "derm_bags/demo_shift", {}),
    "shift_manual_dir": ("plan", "elsewhere", {}),
    "shift_split": ("plan", "validation", {}),
    "use_tpu": ("machine", False, {}),
    "tpu_name": ("machine", "pod", REMOTE),
    "tpu_zone": ("machine", "zone", {}),
    "gcp_project": ("machine", "project", {}),
    "master": ("machine", "grpc://there", REMOTE),
    "cpu_replicas": ("machine", 2, {}),
    "num_workers": ("machine", 4, {}),
    "mixed_precision": ("machine", True, {}),
    "jit_compile": ("training", True, {}),
    "deterministic": ("machine", False, {}),
}


def test_every_flag_is_tried():
    assert list(CHANGES) == list(FIELDS)


@pytest.fixture(scope="module")
def effects(tmp_path_factory):
    return Effects(tmp_path_factory.mktemp("effects"))


@pytest.mark.parametrize("how", sorted({how for how, _, _ in CHANGES.values()}))
def test_the_same_configuration_shows_the_same(effects, how):
    config = TUNED if how in ("evaluation", "embedding") else BASE
    assert effects.see(how, config) == getattr(effects, f"see_{how}")(config)


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_flag_changes_what_a_run_shows(effects, name):
    how, value, context = CHANGES[name]
    if value == "PHOTOS2":
        value = str(draw_photos(effects.root / "photos2", seed=1))
    elif value == "PREDICTIONS":
        (effects.root / "a.csv").write_text("case_id\n")
        value = f"{effects.root / 'a.csv'},{effects.root / 'a.csv'}"
    elif value == "RECIPE":
        (effects.root / "recipe.flags").write_text("--train_steps=77\n")
        value = str(effects.root / "recipe.flags")
    elif value == "CHECKPOINT":
        value = effects.train(BASE.replace(seed=7))
    config = BASE.replace(**context)
    assert effects.see(how, config) != effects.see(how, config.replace(**{name: value}))
