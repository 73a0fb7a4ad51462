"""The model card of an export: Markdown for whoever receives the files; it names what is unknown."""

from __future__ import annotations

import os
import re
from typing import Any

from simclr_med import run_folder
from simclr_med.config import FIELDS, PRIVATE, Config
from simclr_med.export import model_card_loading
from simclr_med.metrics import known_patients, subgroups, text
from simclr_med.metrics.text import TITLES
from simclr_med.run_folder import data_json, files, provenance

FILES = {
    "saved_model": "images to embeddings (and logits); can be trained further",
    "encoder.keras": "the encoder as a Keras model of stock layers",
    "encoder.weights.h5": "its weights alone",
    "encoder_keras3.keras": "the encoder for Keras 3, on TensorFlow, JAX or PyTorch",
    "model.onnx": "images to embeddings (and logits), for onnxruntime",
    "model.safetensors": "the weights for PyTorch, by timm's names",
}
_OF_EXPORT = {"mode", "export_formats", "checkpoint", "eval_name", "embed_unit"}
_OF_EXPORT |= {"subgroups", "min_subgroup", "keep_identifiers", "keep_metadata"}
# Files that anyone can download: their names reveal nothing about the user.
_PUBLISHED = re.compile(
    r"BiT-[SM]-R\d+x\d+\.npz|resnet\d+_weights_tf_dim_ordering_tf_kernels(_notop)?\.h5"
)
_NOT_TO_HAND_ON = (
    "**Not to hand on: this card was made with `--keep_identifiers` and holds names of files, folders "
    "and machines. Export again without that flag for a card without them.**\n"
)
_METHODS = {
    "simclr": "SimCLR: contrastive pretraining, a pair is two views of one image",
    "micle": "MICLe: contrastive pretraining, a pair is two images of one case",
}
_UNKNOWN = "not recorded"


def model_card(
    config: Config,
    facts: dict[str, Any],
    model_dir: str | None,
    files: list[tuple[str, int, str]],
) -> str:
    """Returns the card.

    Args:
      config: of the run, or for the weights.
      facts: of simclr_med.json.
      model_dir: of the run; None if the weights are not a run's.
      files: name, bytes and SHA-256 of what was exported.
    """
    data = data_json.read(model_dir) if model_dir else {}
    # Weights that were only evaluated here (--keep_head) have checkpoint 0 and no record of data.
    of_run = model_dir is not None and not (data and "bags" not in data)
    sections = {
        "What it is": _what(config, facts, of_run),
        "Intended use and limits": _limits(facts),
        "Training data": _data(config, data) if of_run else _UNTRAINED,
        "Training": _training(config, facts, of_run),
        "Results": _results(model_dir, facts, config) if model_dir else "None were measured.",
        "Preprocessing": _preprocessing(facts),
        "How to load it": model_card_loading.snippets(facts, [name for name, *_ in files]),
        "Files": _table(
            ["file", "bytes", "what", "SHA-256 (of a folder: its files in order of name)"],
            [[name, f"{size:,}", FILES[name], digest] for name, size, digest in files],
        ),
        "Software": _software(model_dir),
    }
    title = _front_matter(facts)
    title += f"# {_network(facts)}, {facts['dataset'] or 'weights brought along'}\n"
    if config.eval.keep_identifiers:
        title += f"\n{_NOT_TO_HAND_ON}"
    return title + "".join(f"\n## {name}\n\n{text}\n" for name, text in sections.items())


_UNTRAINED = "Not known here: the weights were brought along and exported as they are."


def _front_matter(facts: dict) -> str:
    """Returns the YAML that https://huggingface.co/docs/hub/model-cards reads; no licence: that is up to
    whoever publishes the model."""
    task = "image-classification" if facts["class_names"] else "image-feature-extraction"
    tags = ["simclr_med", "medical-imaging", "self-supervised-learning"]
    lines = ["library_name: keras", f"pipeline_tag: {task}", "tags:", *(f"- {tag}" for tag in tags)]
    return "\n".join(["---", *lines, "---", "", ""])


def _network(facts: dict) -> str:
    family = {"resnet": "SimCLR ResNet", "bit": "BiT ResNet-v2", "keras_resnet": "Keras ResNet"}
    gates = [
        f", {name} {facts[key]:g}"
        for name, key in (("selective kernels", "sk_ratio"), ("SE", "se_ratio"))
        if facts[key]
    ]
    size = f"{facts['resnet_depth']}, width {facts['width_multiplier']}"
    return f"{family[facts['encoder']]}-{size}{''.join(gates)}"


def _what(config: Config, facts: dict, of_run: bool) -> str:
    lines = [
        f"An encoder of images: {_network(facts)}, {facts['embedding_size']} numbers an image.",
        f"The run's last stage: {_method(config)}."
        if of_run
        else f"The weights of {_name(config)}, not trained further.",
    ]
    if facts["ft_proj_selector"]:
        lines.append(
            f"Embeddings are taken at layer {facts['ft_proj_selector']} of the projection head "
            "(the Keras files hold the encoder below it)."
        )
    if names := facts["class_names"]:
        kind = {True: "independent labels (sigmoid)", False: "classes (softmax)"}
        known = kind.get(facts["several_labels"], f"classes or labels ({_UNKNOWN} which)")
        lines.append(f"Logits for {len(names)} {known}: {', '.join(names)}.")
    return " ".join(lines)


def _method(config: Config) -> str:
    if config.method != "finetune":
        return _METHODS[config.method]
    frozen = config.train.fine_tune_after_block
    if frozen == -1:
        return "supervised fine-tuning, end to end"
    if frozen == 4:
        return "supervised training of the head alone, on a frozen encoder"
    groups = {0: "stem", 1: "stem and first group of blocks"}
    part = groups.get(frozen, f"stem and first {frozen} groups of blocks")
    return f"supervised fine-tuning, with the encoder's {part} frozen"


def _name(config: Config) -> str:
    """Returns what --checkpoint may be called: a published file by its name, else no name."""
    path = str(config.run.checkpoint)
    name = os.path.basename(path.rstrip("/"))
    if config.eval.keep_identifiers:
        return path
    return name if _PUBLISHED.fullmatch(name) else "a file or folder whose name is left out here"


def _limits(facts: dict) -> str:
    head = "classification of such images" if facts["class_names"] else "a probe, or fine-tuning"
    return (
        f"For research: embeddings for search, {head}. It is not a medical device; nothing here "
        "shows that it is safe or useful for the care of patients. What it does on images of other "
        "devices, clinics or populations than those measured below is unknown: measure it there "
        "first, by patient. Embeddings may hold what identifies a patient; treat them as the images."
    )


def _data(config: Config, data: dict) -> str:
    if not data:
        dataset_text = f"Dataset: {config.data.dataset}, split {config.data.train_split}. "
        return dataset_text + f"Counts and fingerprint: {_UNKNOWN} by this older run."
    skipped, missing = data["skipped_images"], data["missing_images"]
    rows = [
        ["dataset", data["dataset"]],
        ["fingerprint", data["fingerprint"] or "the dataset has none"],
        ["split", data["split"]],
        ["trained on", f"{data['bags']:,} cases (bags), {data['images']:,} images"],
        ["share of the labels used", f"{config.data.label_fraction:g}"],
        ["cases of all splits", text.plain(data["bags_of_splits"])],
        ["patients of all splits", text.plain(data["patients_of_all_splits"])],
        ["labels", text.plain(data["class_names"])],
        ["images left out as unreadable", str(len(skipped))],
        ["images in the table that were missing", text.plain(missing)],
        *([name, value] for name, value in data["reading"].items()),
    ]
    return _table(["what", "value"], rows)


def _training(config: Config, facts: dict, of_run: bool) -> str:
    begin = (
        f"Initial weights: {_name(config)}"
        if config.run.checkpoint
        else f"Initial weights: random, seed {config.run.seed}"
    )
    begin += f" (input range {facts['input_range']})."
    if not of_run:
        return begin + " Not trained further here."
    hidden = _OF_EXPORT - {"checkpoint"} if config.eval.keep_identifiers else PRIVATE | _OF_EXPORT
    changed = [
        [name, text.plain(value), text.plain(FIELDS[name].default)]
        for name, value in config.to_dict().items()
        if value != FIELDS[name].default and name not in hidden
    ]
    return (
        f"{begin} Then {_method(config)}; {facts['global_step']:,} steps, batch "
        f"{config.train.train_batch_size}, {config.optim.optimizer}. Flags that differ from their "
        f"defaults{'' if config.eval.keep_identifiers else ' (folders and machines left out)'}:\n\n"
        + _table(["flag", "value", "default"], changed)
    )


def _results(model_dir: str, facts: dict, config: Config) -> str:
    names = [n for n in files.names(model_dir) if n.startswith("result") and n.endswith(".json")]
    results = [run_folder.read_json(os.path.join(model_dir, name)) for name in names]
    results = [result for result in results if result.get("classification")]
    if not results:
        return "None: the run was not evaluated on labelled cases (`--mode=eval`)."
    return "\n\n".join(_result(result, facts, config) for result in results)


def _result(result: dict, facts: dict, config: Config) -> str:
    step = result["global_step"]
    title = f"{result['dataset']}, {result['eval_split']}, step {step}"
    if words := known_patients.part(result):
        title += f"; {words.rstrip('.')}"
    if step != facts["global_step"]:
        title += f" (NOT the step exported here, {facts['global_step']})"
    rows: list[list[str]] = []
    names: list[str] = []
    for evaluator, by_encoder in result["classification"].items():
        for encoder, row in by_encoder.items():
            names = names or [name for name in TITLES if name in row]
            row_title = f"{evaluator}, encoder: {text.encoder_title(result, encoder)}"
            numbers = [text.estimate(row, name) for name in names]
            rows.append([row_title, str(row["cases"]), str(row["patients"]), *numbers])
    columns = ["", "cases", "patients", *(TITLES[name] for name in names)]
    words = f"{title}; 95 % intervals over patients."
    if order := result.get("grades"):
        words += f" Grades, lowest first: {' < '.join(order)}."
    words += "".join(f" {warning}" for warning in known_patients.warnings(result))
    words += f"\n\n{_table(columns, rows)}"
    return words + _subgroups(result, names, config)


def _subgroups(result: dict, names: list[str], config: Config) -> str:
    """Returns the table of the usual subgroups, or of those of --subgroups; "" without any.

    The result may be older than the rules for small groups: they are applied again.
    """
    options = config.eval.subgroups, config.eval.min_subgroup
    groups = subgroups.publishable(result.get("subgroups") or [], *options)
    if not groups:
        return ""
    shown = [name for name in names if any(name in group for group in groups)]
    rows = [
        [f"{group['column']}: {group['value']}"]
        + [text.plain(group["cases"]), text.plain(group["patients"])]
        + [text.estimate(group, name) for name in shown]
        for group in groups
    ]
    columns = ["subgroup", "cases", "patients", *(TITLES[name] for name in shown)]
    pooling_note = ""
    if any("pooled" in group for group in groups):
        pooling_note = (
            "\n\nTo protect patients, small groups are one group, “fewer than …” patients; where "
            "these have fewer even together, the smallest of the other groups is among them (“with "
            "…”): else their numbers would follow from the other rows."
        )
    return f"\n\n{_table(columns, rows)}{pooling_note}"


def _preprocessing(facts: dict) -> str:
    size = facts["image_size"]
    crop = (
        "the largest centred square times 0.875, then"
        if size > 32
        else "the whole image (no crop),"
    )
    resize = (
        "reduced by area means (enlarged: bicubic)"
        if facts["antialias"]
        else "bicubic without a low-pass filter"
    )
    ranges = {
        "unit": "as they are",
        "symmetric": "as 2x - 1",
        "caffe": "as BGR in [0, 255] less ImageNet's means",
    }
    return (
        "The SavedModel and the ONNX file do it all: they take 8-bit RGB images of any size (the "
        f"SavedModel also 16-bit ones, where 65535 is white): {crop} {resize} to {size} x {size} "
        "px, clipped to [0, 1]. The Keras files take RGB in [0, 1] after that. "
        f"In all of them the encoder's first layer sees pixels {ranges[facts['input_range']]}. PyTorch "
        "takes RGB in [0, 1] after the same crop and resize, less `mean` and over `std` of the file's "
        "metadata. Grey images: repeat the channel three times. A case of several images: average their "
        "embeddings."
    )


def _software(model_dir: str | None) -> str:
    """Returns which versions exported, and how long the run was trained, on what."""
    versions = ", ".join(f"{name} {version}" for name, version in provenance.software().items())
    text = f"Exported with {versions}."
    if model_dir and (sessions := provenance.sessions(model_dir)):
        duration = provenance.in_words(provenance.training_of(model_dir))
        machine = provenance.hardware_in_words(sessions[-1]["hardware"])
        text += f" Training took {duration}, on {machine}."
    return text


def _table(columns: list[str], rows: list[list[str]]) -> str:
    """Returns a table in Markdown."""
    escaped = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [columns, ["---"] * len(columns), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
