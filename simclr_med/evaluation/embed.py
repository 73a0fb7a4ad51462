"""--mode=embed: the embeddings of a split, a row per case or per image, as Parquet and NumPy files."""

from __future__ import annotations

import dataclasses
import json
import os
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from simclr_med import checkpoints, printing, run_folder
from simclr_med.build import make_model, open_bags
from simclr_med.config import Config
from simclr_med.data import NO_LABEL, Bags
from simclr_med.errors import UserError
from simclr_med.evaluation.ensemble import restored
from simclr_med.evaluation.features import case_features, image_features
from simclr_med.export import source, writable
from simclr_med.models import Model
from simclr_med.run_folder import data_json, files, gfile, leftovers, terminal
from simclr_med.run_folder.progress import Progress
from simclr_med.transient import retried

_ROW_GROUP = 4096


def embed(
    config: Config, builder, model_dir: str, strategy: tf.distribute.Strategy, *, of_run: bool
) -> list[str]:
    """Writes embeddings[_NAME]_SPLIT.parquet and .npz in `model_dir`; returns their paths.

    Rows are in the order of the split. A case's embedding is the mean over its images, at most
    --max_bag_size of them as in evaluation; per image there is a row for all of them. All rows are
    kept in memory.

    Args:
      config: of the run, or for --checkpoint.
      builder: of the prepared dataset.
      model_dir: of the run; or just where to write.
      strategy: from `build.set_up`.
      of_run: whether the model is that of a run in `model_dir`; else the encoder of --checkpoint.

    Raises:
      UserError: a mistake of the user's.
    """
    split, by_image = config.data.eval_split, config.eval.embed_unit == "image"
    writable.check(model_dir, model_dir, of_run=of_run)
    if of_run:
        _check_name(config, builder, model_dir)
    bags = open_bags(config, builder, split, with_image_ids=by_image)
    config, model, weights = _model(config, model_dir, strategy, of_run)
    rows = _read(bags)
    compute = _per_image if by_image else _per_case
    embeddings, columns, labels = retried(
        lambda: compute(config, strategy, model, bags, rows), f"Embedding {split}"
    )
    about = {
        "weights": weights,
        "dataset": data_json.name_of(builder),
        "fingerprint": (builder.info.metadata or {}).get("fingerprint"),
        "split": split,
        "unit": config.eval.embed_unit,
        "image_size": config.augment.image_size,
        "input_range": model.encoder.input_range,
        "antialias": config.augment.is_antialiased,
    }
    gfile.makedirs(model_dir)
    stem = os.path.join(
        model_dir, f"embeddings{config.eval.suffix}_{re.sub(r'[^A-Za-z0-9._-]+', '_', split)}"
    )
    paths = [f"{stem}.parquet", f"{stem}.npz"]
    with run_folder.results_locked(model_dir):
        leftovers.remove(model_dir)
        _write_parquet(paths[0], columns, labels, bags.class_names, embeddings, about)
        _write_npz(paths[1], columns, labels, bags.class_names, embeddings, about)
    with printing.result():
        print(
            f"{len(embeddings):,} embeddings of {embeddings.shape[1]:,} numbers, a row per "
            f"{config.eval.embed_unit}, of {data_json.name_of(builder)} {split}:"
        )
        for path in paths:
            print(f"  {path}  {terminal.file_size(gfile.stat(path).length)}")
    return paths


def _per_case(config: Config, strategy, model: Model, bags: Bags, rows: _Rows) -> tuple:
    """Returns (embeddings [n, d], {column: values [n]}, labels), a row per case."""
    num_images = np.array([len(names) for names in rows.image_ids], np.int32)
    limit = config.data.max_bag_size
    if cut := int((num_images > limit).sum()):
        print(f"{cut:,} cases have more images than --max_bag_size={limit}: a draw is averaged.")
    progress = Progress(int(np.minimum(num_images, limit).sum()), "images")
    embeddings = case_features(config, strategy, {"": model}, bags, on_batch=progress)[""]
    columns = {"case_id": rows.case_ids, "patient_id": rows.patients, "num_images": num_images}
    return embeddings, columns, rows.labels


def _per_image(config: Config, strategy, model: Model, bags: Bags, rows: _Rows) -> tuple:
    """Returns the same, a row per image."""
    progress = Progress(sum(map(len, rows.image_ids)), "images")
    embeddings, case, image = image_features(config, strategy, model, bags, progress)
    columns = {"case_id": rows.case_ids[case], "patient_id": rows.patients[case], "image": image}
    if rows.named:
        columns["image_id"] = np.array([rows.image_ids[c][i] for c, i in zip(case, image)], str)
    return embeddings, columns, rows.labels[case]


def _check_name(config: Config, builder, model_dir: str) -> None:
    saved = run_folder.read_json(os.path.join(model_dir, "config.json"))
    trained_on = saved.get("prepared_dataset", data_json.name_of(builder))
    if trained_on != data_json.name_of(builder) and not config.eval.eval_name:
        raise UserError(
            f"{model_dir} was trained on {trained_on}. Give --eval_name=NAME to embed "
            f"{data_json.name_of(builder)}, so that the two are not mixed up."
        )


def _model(config: Config, model_dir: str, strategy, of_run: bool) -> tuple[Config, Model, str]:
    """Returns the configuration with what follows from the weights, the model with them, and in words
    which they are."""
    if of_run:
        names = source.class_names_of(config, model_dir)
        model, path = restored(config, model_dir, strategy, len(names))
        print(f"The model of {path}.")
        return config, model, path
    config, weights = source.weights_only(config)
    with strategy.scope():
        model = make_model(config, 0)
    print(checkpoints.load(model, weights))
    return config, model, weights.path


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The cases of a split.

    Attributes:
      case_ids: [n].
      patients: [n].
      labels: as in `Cases`.
      image_ids: names of each case's images; "" where they have none.
      named: whether they have names.
    """

    case_ids: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    image_ids: list[list[str]]
    named: bool


def _read(bags: Bags) -> _Rows:
    """Returns the cases of a split; no image is decoded."""

    def without_images(bag):
        columns = {name: bag[name] for name in ("bag_id", "patient_id", "label")}
        return {**columns, "names": bag.get("image_ids", tf.repeat("", tf.size(bag["images"])))}

    rows = list(bags.dataset.map(without_images).as_numpy_iterator())
    return _Rows(
        case_ids=np.array([row["bag_id"].decode() for row in rows]),
        patients=np.array([row["patient_id"].decode() for row in rows]),
        labels=np.array([row["label"] for row in rows]),
        image_ids=[[name.decode() for name in row["names"]] for row in rows],
        named="image_ids" in bags.dataset.element_spec,
    )


def _write_parquet(path: str, columns, labels, class_names, embeddings, about: dict) -> None:
    """Writes the columns, the labels as text or as 1, 0 and null, and `embedding`: list<float32>."""
    columns = {name: pa.array(values) for name, values in columns.items()}
    if labels.ndim == 2:
        for i, name in enumerate(class_names):
            columns[f"label: {name}"] = pa.array(labels[:, i], from_pandas=True)  # NaN: null
    elif class_names:
        texts = [None if label == NO_LABEL else class_names[label] for label in labels]
        columns["label"] = pa.array(texts, pa.string())
    width = embeddings.shape[1]
    schema = pa.schema(
        [
            *((name, array.type) for name, array in columns.items()),
            ("embedding", pa.list_(pa.float32())),
        ],
        metadata={"simclr_med": json.dumps(about)},
    )
    with files.writing(path) as local, pq.ParquetWriter(local, schema) as writer:
        for start in range(0, len(embeddings), _ROW_GROUP):
            part = embeddings[start : start + _ROW_GROUP]
            ends = pa.array(np.arange(0, part.size + 1, width, dtype=np.int32))
            arrays = [array.slice(start, _ROW_GROUP) for array in columns.values()]
            lists = pa.ListArray.from_arrays(ends, pa.array(part.reshape(-1)))
            writer.write_batch(pa.record_batch([*arrays, lists], schema=schema))


def _write_npz(path: str, columns, labels, class_names, embeddings, about: dict) -> None:
    """Writes the same: `embeddings` [n, d], the columns, `labels` (numbers), `class_names`."""
    if class_names:
        columns = {**columns, "labels": labels, "class_names": np.array(class_names, str)}
    with files.writing(path) as local:
        np.savez(local, embeddings=embeddings, about=json.dumps(about), **columns)
