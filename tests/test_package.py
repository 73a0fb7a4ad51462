"""The wheel holds what an installation needs, and puts nothing else into site-packages."""

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile

import pytest
import tomllib
from packaging.requirements import Requirement

from helpers import ROOT

PACKAGES = ("simclr_med", "tfds_builders")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Names of the files in the wheel of a copy of the clone, built without the network."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for requirement in map(Requirement, pyproject["build-system"]["requires"]):
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        if version is None or not requirement.specifier.contains(version):
            pytest.skip(f"building a wheel needs {requirement}; installed is {version}")
    copy, target = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("wheel")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    for name in (*PACKAGES, "flags", "benchmarks", "tests"):  # the last two must be left out
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*pip, f"--wheel-dir={target}", str(copy)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = target.iterdir()
    return zipfile.ZipFile(wheel).namelist()


def test_two_packages_and_nothing_else_reach_site_packages(files):
    (info,) = {name.split("/")[0] for name in files} - {*PACKAGES}
    assert info.startswith("simclr_med-") and info.endswith(".dist-info")
    assert f"{info}/entry_points.txt" in files and f"{info}/licenses/LICENSE" in files


def test_every_module_is_in_the_wheel(files):
    modules = {
        str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")
    }
    assert len(modules) > 100 and modules == {name for name in files if name.endswith(".py")}


def test_what_the_modules_read_is_in_the_wheel(files):
    """The recipes of flags/, and the text files beside each builder that TFDS reads."""
    recipes = {
        f"simclr_med/recipes/{path.name}"
        for path in (ROOT / "flags").iterdir()
        if path.suffix in (".flags", ".toml")
    }
    texts = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tfds_builders").rglob("*")
        if path.suffix in (".bib", ".md", ".txt")
    }
    assert len(recipes) > 10 and len(texts) == 9
    assert recipes <= {*files} and texts <= {*files}
