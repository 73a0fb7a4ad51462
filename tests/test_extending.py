"""The examples of docs/extending.md run as they stand, and are undone afterwards."""

import importlib
import re
import sys

import pytest

from helpers import ROOT
from simclr_med.commands import COMMANDS
from simclr_med.evaluation.probes import EVALUATORS
from simclr_med.training.methods import METHODS
from tfds_builders.prepare import FOLDERS

PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = {
    section.partition("\n")[0]: "\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))
    for section in PAGE.split("\n## ")[1:]
}


@pytest.fixture(autouse=True)
def _registers_as_before():
    registers = (COMMANDS, EVALUATORS, METHODS, FOLDERS)
    before = [dict(register) for register in registers]
    yield
    for register, content in zip(registers, before):
        register.clear()
        register.update(content)


@pytest.mark.parametrize("section", SECTIONS)
def test_an_example_of_extending_runs(section, tmp_path, monkeypatch):
    assert "assert" in SECTIONS[section]
    (tmp_path / "example").mkdir()  # TFDS looks into the package of a builder
    (tmp_path / "example" / "__init__.py").write_text(SECTIONS[section])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "example", raising=False)
    importlib.import_module("example")


def test_every_kind_of_contributing_has_an_example():
    table = (ROOT / "CONTRIBUTING.md").read_text().split("## To add")[1].split("## Rules")[0]
    kinds = re.findall(r"^\| (an? [^|]+?) \|", table, re.MULTILINE)
    assert len(kinds) >= 6
    examples = {section.lower() for section in SECTIONS}
    names = {"an option": "a flag", "a contrastive method": "a contrastive method and its loss"}
    assert {names.get(kind, kind) for kind in kinds} <= examples
