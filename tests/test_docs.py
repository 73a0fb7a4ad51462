"""README and docs: short enough, no dead link, no page that nobody finds, and they build."""

import pathlib
import re
import runpy
import subprocess
import sys

import pytest

from helpers import ROOT

PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("flags/*.md"),
    ]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def test_readme_is_read_in_a_minute():
    assert len((ROOT / "README.md").read_text().split()) <= 900


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text()
    dead = []
    for target in LINK.findall(text):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        there = page.parent / path if path else page
        if not there.exists() or anchor and there.suffix == ".md" and anchor not in anchors(there):
            dead.append(target)
    assert dead == []


def anchors(page: pathlib.Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_menu_and_in_the_overview():
    menu = re.search(r"^nav:\n((?: .*\n)+)", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    in_order = re.findall(r"(\w+\.md)$", menu[1], re.MULTILINE)
    named = set(in_order)
    assert len(in_order) == len(named)
    assert named == {page.name for page in ROOT.glob("docs/*.md")}
    linked = set(LINK.findall((ROOT / "docs/index.md").read_text()))
    assert named - {"index.md"} <= linked


def test_the_page_of_flags_is_up_to_date():
    program = ROOT / "docs" / "write_flags.py"
    written = runpy.run_path(str(program))["text"]()
    assert (ROOT / "docs/flags.md").read_text() == written, f"run python {program}"


@pytest.mark.slow
@pytest.mark.one_stack
def test_the_pages_build(tmp_path):
    for module in ("mkdocstrings", "material"):
        pytest.importorskip(module, reason='needs mkdocs: pip install -e ".[docs]"')
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert (tmp_path / "finetuning" / "index.html").exists()
    assert "pretrain" in (tmp_path / "api" / "index.html").read_text()
    loaded = r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="?((?:https?:)?//[^ ">]+)'
    for page in tmp_path.rglob("*.html"):  # offline they are whole
        assert re.findall(loaded, page.read_text()) == [], page
