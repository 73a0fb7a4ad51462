"""Beam writes what a build without it does; skipped without the extra [beam]."""

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from helpers import cxr_twins
from tfds_builders import bag_builder
from tfds_builders.bag_table import shards
from tfds_builders.chexpert_studies import Builder, folder_config

pytestmark = pytest.mark.slow
pytest.importorskip("apache_beam", reason="Apache Beam is not installed (the extra [beam])")


def prepare(config, data_dir, **download_config):
    builder = Builder(config=config, data_dir=data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**download_config))
    return builder


DASK = "apache_beam.runners.dask.dask_runner.DaskRunner"  # Beam gives it no short name


def beam_config(runner="DirectRunner"):
    from apache_beam.options.pipeline_options import PipelineOptions

    flags = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    options = PipelineOptions(flags if runner == "DirectRunner" else [])
    return {"beam_runner": runner, "beam_options": options}


def records(path):
    """Returns {feature: its bytes} of each example in a file; in which order they are stored may vary."""
    examples = map(
        tf.train.Example.FromString, tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    )
    return [
        {name: value.SerializeToString() for name, value in example.features.feature.items()}
        for example in examples
    ]


@pytest.mark.parametrize("runner", ["DirectRunner", DASK])
def test_same_files_as_without_beam(tmp_path, monkeypatch, runner):
    """The same records, with some unreadable images, which workers in other processes must report."""
    if runner == DASK:
        pytest.importorskip(
            "distributed", reason="Dask is not installed (.ci/run beam installs it)"
        )
    monkeypatch.setattr(bag_builder, "shards", lambda rows: shards(rows, 50_000))
    cxr_twins.draw_chexpert(tmp_path / "data", num_patients=30, seed=1, size=16)
    images = sorted((tmp_path / "data").rglob("*.jpg"))
    for image in images[::7]:
        image.write_bytes(b"?")
    config = folder_config(str(tmp_path / "data"), on_bad_image="skip")
    plain = prepare(config, tmp_path / "plain")
    beam = prepare(config, tmp_path / "beam", **beam_config(runner))
    assert dict(beam.info.metadata) == dict(plain.info.metadata)
    assert len(beam.info.metadata["skipped_images"]) == len(images[::7])
    assert beam.info.splits["train"].num_shards > 2
    names = sorted(path.name for path in plain.data_path.iterdir())
    assert names == sorted(path.name for path in beam.data_path.iterdir())
    for name in (name for name in names if "tfrecord" in name):
        assert records(plain.data_path / name) == records(beam.data_path / name), name
    tables = [b.data_path / "splits.csv" for b in (plain, beam)]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_unreadable_image_is_named(tmp_path):
    cxr_twins.draw_chexpert(tmp_path / "data", num_patients=5, seed=1, size=16)
    config = folder_config(str(tmp_path / "data"))
    path = config.table.rows["path"].iloc[0]
    (tmp_path / "data" / "CheXpert-v1.0-small" / path).write_bytes(b"?")
    builder = Builder(config=config, data_dir=tmp_path / "beam")
    with pytest.raises(Exception, match=f"image '{path}' cannot be used: not an image"):
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**beam_config()))
    assert not builder.is_prepared()
