"""Folders of images without a table: every image is in one case, or an error says why not."""

import os
import shutil
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfds_builders.derm_bags.manifest import read_manifest
from tfds_builders.detect import detect
from tfds_builders.errors import DataError
from tfds_builders.spelling import fold

_SPLITS = ["train", "Train", "TRAINING", "val", "VALID", "test", "dev", "holdout", "external"]
_LABELS = [
    "nevus",
    "mel",
    "a",
    "b",
    "x y",
    "1",
    "2",
    "unknown",
    "é",
    "e\u0301",
    "#",
    "%20",
    "[a]",
    "{",
]
_ODD_NAMES = [
    "0017",
    "images",
    "masks",
    "patient1",
    "patient2",
    "site0",
    "images_001",
    "all",
    "2021-03-04",
]
_ENDS = [".png"] * 12 + [".JPG", ".dcm", ".txt", "", ".csv"]
_REGEXES = ["", "", "(.+)", "([^/]+)/[^/]+$", r"(?P<case>[pc]\d)", r"(?P<patient>[pc]\d)_(.+)"]
_REGEXES += ["(?P<label>[^/]*)/(?P<case>.+)", "(?P<case>.+(?P<label>x)?)", "(a)|(b)", "()", "("]
_NAMES = st.sampled_from(_SPLITS + _LABELS * 2 + _ODD_NAMES)


@st.composite
def folders(draw):
    """Returns paths of files, and links (path, target); most files are at one depth."""
    depth = draw(st.integers(1, 4))
    names = draw(st.lists(_NAMES, min_size=1, max_size=5))
    files = set()
    for i in range(draw(st.integers(0, 16))):
        here = depth if draw(st.integers(0, 14)) else draw(st.integers(1, 4))
        parts = [draw(st.sampled_from(names)) for _ in range(here - 1)]
        stem = draw(st.sampled_from(["f", "p1_", "c2_"]))
        files.add("/".join([*parts, f"{stem}{i}{draw(st.sampled_from(_ENDS))}"]))
    directories = sorted({os.path.dirname(path) for path in files} | {""})
    targets = st.sampled_from([*directories, "nowhere", "../out", "..", "../out/more"])
    links = draw(st.lists(st.tuples(st.sampled_from(directories), targets), max_size=3))
    return sorted(files), [
        (f"{where}/link{i}".strip("/"), to) for i, (where, to) in enumerate(links)
    ]


def draw_folder(base, files, links):
    """Writes them below `base`/in; another folder is beside it."""
    shutil.rmtree(base, ignore_errors=True)
    for path in [*(f"in/{path}" for path in files), "out/o.png", "out/more/p.png"]:
        os.makedirs(os.path.dirname(f"{base}/{path}"), exist_ok=True)
        with open(f"{base}/{path}", "wb") as file:
            file.write(path.encode())
    os.makedirs(f"{base}/in", exist_ok=True)
    for path, target in links:
        os.symlink(os.path.abspath(f"{base}/in/{target}"), f"{base}/in/{path}")
    os.symlink(f"{base}/out", f"{base}/out/more/back")


@pytest.mark.slow
@pytest.mark.one_stack
@settings(
    max_examples=3000,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(folders(), st.sampled_from(_REGEXES), st.booleans())
def test_every_image_is_in_one_case_or_an_error_says_why(tmp_path, drawn, regex, follow):
    base = str(tmp_path / "data")
    draw_folder(base, *drawn)
    before = sorted(os.walk(base))
    start = time.process_time()
    try:
        detect(f"{base}/in")
        manifest = read_manifest(f"{base}/in", bag_regex=regex, follow_links=follow)
    except DataError as error:
        assert str(error)
    else:
        paths = [image.path for case in manifest.cases for image in case.images]
        real_paths = {os.path.realpath(f"{base}/in/{path}") for path in paths}
        own = {f"{base}/in/{path}" for path in drawn[0] if path.endswith((".png", ".JPG", ".dcm"))}
        assert own <= real_paths and len(paths) == len(set(paths))
        assert follow or real_paths == own
        for note in manifest.notes:
            assert note.endswith(".") and "\n" not in note
        if manifest.layout in ("image_folder", "tree") and "label" not in regex:
            depth = -2 if manifest.layout == "image_folder" else -3
            for case in manifest.cases:
                (label,) = {fold(image.path.split("/")[depth]) for image in case.images}
                assert fold(case.label) == label.replace("unknown", "")
    assert time.process_time() - start < 10
    assert sorted(os.walk(base)) == before
