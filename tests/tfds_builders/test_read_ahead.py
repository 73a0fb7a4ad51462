"""read_ahead: in order, errors in their places, and never far ahead of the caller."""

import pytest

from tfds_builders import read_ahead
from tfds_builders.pixels import ImageError


def test_order_and_errors(monkeypatch):
    def load(path, long_side, dicom_frame):
        if path == "7":
            raise ImageError("broken")
        return path.encode()

    monkeypatch.setattr(read_ahead, "load_encoded", load)
    results = list(read_ahead.load_ahead(str(i) for i in range(100)))
    assert str(results[7]) == "broken" and isinstance(results.pop(7), ImageError)
    assert results == [str(i).encode() for i in range(100) if i != 7]


def test_reads_only_a_little_ahead_and_stops_with_the_caller(monkeypatch):
    monkeypatch.setattr(read_ahead, "load_encoded", lambda path, long_side, dicom_frame: b"")
    requested = []
    loaded = read_ahead.load_ahead(requested.append(i) or str(i) for i in range(10**6))
    for i in range(5):
        next(loaded)
        assert len(requested) <= i + 2 + read_ahead.READ_AHEAD
    loaded.close()
    assert len(requested) < 50


def test_other_errors_are_not_swallowed(monkeypatch):
    def stop(path, long_side, dicom_frame):
        raise KeyError(path)

    monkeypatch.setattr(read_ahead, "load_encoded", stop)
    with pytest.raises(KeyError):
        list(read_ahead.load_ahead(["a"]))
