"""The HTML that report.html is made of. All text is escaped here, and nowhere else."""

from __future__ import annotations

import html
from typing import Any

_MANY = 9  # columns of numbers, above which paper is too narrow for an interval in a line
# The page loads nothing and runs nothing, whatever its text.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 1.5rem 1rem 4rem; background: #fff; color: #1a1a1a;
  font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid #d5d5d5; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p, ul { margin: .5rem 0; max-width: 48rem; }
.lead { color: #555; margin: 0 0 1rem; overflow-wrap: anywhere; }
nav { font-size: .9rem; margin: 1rem 0; }
nav a { color: #00517f; margin-right: .9rem; white-space: nowrap; display: inline-block;
  line-height: 1.7rem; }
.box { border: 1px solid #9fc0d6; border-left: 6px solid #0072b2; background: #f3f8fb;
  padding: .75rem 1.1rem; margin: 1rem 0; overflow-wrap: anywhere; }
.warning { border-color: #d9a27a; border-left-color: #d55e00; background: #fdf6f0; }
.notice { border-color: #c4c4c4; border-left-color: #767676; background: #f6f6f6; }
.title { font-weight: 600; }
.scroll th:first-child { position: sticky; left: 0; background: #fff; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #e4e4e4; }
thead th { border-bottom: 2px solid #888; vertical-align: bottom; }
th[scope=row] { font-weight: 600; min-width: 7rem; max-width: 22rem;
  overflow-wrap: break-word; }
.numbers td, .numbers thead th + th { text-align: right; padding-left: .5rem; }
.numbers td { white-space: pre; }
.words td { overflow-wrap: anywhere; min-width: 6rem; }
.words td:last-child { min-width: min(24rem, 85vw); }
figure { margin: 1rem 0; break-inside: avoid; }
figure img { width: 100%; height: auto; display: block; }
figcaption { font-size: .875rem; color: #444; margin-top: .35rem; max-width: 48rem; }
.broad img { width: auto; max-width: max(100%, 46rem); }
.pair { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.narrow { max-width: 34rem; }
.strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .75rem;
  margin: .75rem 0; padding: 0; list-style: none; max-width: none; }
.strip li { font-size: .8rem; line-height: 1.35; overflow-wrap: anywhere; break-inside: avoid; }
.strip img, .strip .absent { width: 100%; aspect-ratio: 1; object-fit: contain; background: #111;
  display: block; margin-bottom: .25rem; }
.strip .absent { background: #eee; color: #555; text-align: center; padding-top: 40%; }
.strip .wide { grid-column: span 2; }
.strip .wide img { aspect-ratio: 2; }
.strip .query > :first-child { outline: 3px solid #0072b2; outline-offset: -3px; }
.strip b { display: block; }
details { margin: .75rem 0; }
summary { cursor: pointer; color: #00517f; }
@media print {
  @page { size: A4; margin: 14mm; }
  :root { font-size: 10pt; }
  body { font-size: 1rem; max-width: none; padding: 0; }
  nav { display: none; }
  h2, h3, section > p, .table figcaption, summary { break-after: avoid; }
  p, .box, tr { break-inside: avoid; }
  .table { break-inside: auto; }
  .scroll { overflow: visible; }
  .scroll th:first-child { position: static; }
  figure img { max-height: 17cm; object-fit: contain; object-position: left top; }
  .broad img { max-width: 100%; }
  table { font-size: 8pt; }
  th, td { padding: 1mm 2mm 1mm 0; }
  .numbers th[scope=row] { min-width: 2.8cm; max-width: 5cm; overflow-wrap: anywhere; }
  .numbers.wide td { white-space: pre-line; }
  .numbers.wide :is(th, td) { padding: 1mm 1mm 1mm 0; }
  .words th[scope=row] { min-width: 4.6cm; }
  .words td:last-child { min-width: 8cm; }
  .narrow { max-width: none; display: grid; grid-template-columns: 7.5cm 1fr; gap: 5mm; }
  .pair .narrow { display: block; }
  details::details-content { content-visibility: visible; }
  summary { list-style: none; color: inherit; }
  .pair { grid-template-columns: 1fr 1fr; }
  .strip { grid-template-columns: repeat(6, 1fr); gap: 2mm; }
  .strip li { font-size: 7pt; }
  .box, .strip img, .strip .absent { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""


def document(title: str, lead: str, sections: list[tuple[str, str]]) -> str:
    """Returns the whole page.

    Args:
      title: of the page.
      lead: a line of text below it.
      sections: (heading, HTML); those without a heading stand above the table of contents.
    """
    headed = [(i, heading) for i, (heading, _) in enumerate(sections) if heading]
    links = "".join(f'<a href="#s{i}">{html.escape(heading)}</a> ' for i, heading in headed)
    contents = f'<nav aria-label="Contents">{links}</nav>'
    top = "".join(body for heading, body in sections if not heading)
    rest = "".join(
        f'<section><h2 id="s{i}">{html.escape(heading)}</h2>{sections[i][1]}</section>\n'
        for i, heading in headed
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        f'<main><h1>{html.escape(title)}</h1>\n<p class="lead">{html.escape(lead)}</p>\n'
        f"{top}\n{contents}\n{rest}</main>\n</body>\n</html>\n"
    )


def subheading(text: str) -> str:
    """Returns a heading within a section."""
    return f"<h3>{html.escape(text)}</h3>"


def paragraph(text: str) -> str:
    """Returns a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def bullets(items: list[tuple[str, str]]) -> str:
    """Returns a list of (term, text); the term is bold and may be empty."""
    lines = (
        (f"<strong>{html.escape(term)}</strong> " if term else "") + html.escape(text)
        for term, text in items
    )
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def box(inside: str, kind: str = "", title: str = "") -> str:
    """Returns HTML in a box.

    Args:
      inside: the HTML.
      kind: "warning", about numbers that mislead; "notice", what holds for every page; "": results.
      title: stands above it, as readers who cannot see the colour need it.
    """
    above = f'<p class="title">{html.escape(title)}</p>' if title else ""
    return f'<div class="{f"box {kind}".strip()}">{above}{inside}</div>'


def details(summary: str, inside: str) -> str:
    """Returns HTML that is folded on screen and open in print.

    Args:
      summary: the text to click on.
      inside: the HTML.
    """
    return f"<details><summary>{html.escape(summary)}</summary>{inside}</details>"


def pair(*figures: str) -> str:
    """Returns figures side by side where the width allows it."""
    return f'<div class="pair">{"".join(figures)}</div>'


def table(
    name: str, columns: list[str], rows: list[list[str]], caption: str = "", words: bool = False
) -> str:
    """Returns a table of text; the first column names the row, the others are numbers or words.

    Args:
      name: what a screen reader calls it; another one for each table of the page.
      columns: their headings.
      rows: of as many cells.
      caption: stands above it.
      words: whether the cells are words, else numbers.
    """
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    kind = "words" if words else "numbers wide" if len(columns) > _MANY else "numbers"
    scrolling = _scrolled(
        f'<table class="{kind}" aria-label="{html.escape(name)}">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
        f"{name}, table",
    )
    return (
        f'<figure class="table">{_figcaption(caption)}{scrolling}</figure>'
        if caption
        else scrolling
    )


def figure(data: str, alt: str, caption: str = "", narrow: bool = False) -> str:
    """Returns a picture with its caption.

    Args:
      data: a data: URI.
      alt: its description for those who cannot see it.
      caption: below it.
      narrow: keep it at the width of half a page.
    """
    kind = ' class="narrow"' if narrow else ""
    return f"<figure{kind}>{_image(data, alt)}{_figcaption(caption)}</figure>"


def wide_figure(name: str, data: str, alt: str, caption: str) -> str:
    """Returns a picture that a narrow screen scrolls, so that what is written in it can be read.

    Its caption, like that of a table, stands outside the box that scrolls.

    Args:
      name: what a screen reader calls it; another one for each picture of the page.
      data: a data: URI.
      alt: its description for those who cannot see it.
      caption: below it.
    """
    scrolled = _scrolled(_image(data, alt), f"{name}, picture")
    return f'<figure class="broad">{scrolled}{_figcaption(caption)}</figure>'


def _scrolled(inside: str, name: str) -> str:
    """Returns HTML in a box that scrolls sideways where it is too wide, with the arrow keys too."""
    label = html.escape(name)
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">{inside}</div>'


def _image(data: str, alt: str) -> str:
    return f'<img src="{html.escape(data)}" alt="{html.escape(alt)}">'


def _figcaption(caption: str) -> str:
    return f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""


def strip(items: list[dict[str, Any]]) -> str:
    """Returns pictures in a row, each with `lines` of text, the first one bold.

    Args:
      items: {"picture": data: URI or "", "alt", "lines": [str], "query": bool, "wide": bool}; a wide
        picture is two pictures side by side.
    """
    cells = []
    for item in items:
        picture = '<div class="absent">no picture</div>'
        if item["picture"]:
            picture = f'<img src="{html.escape(item["picture"])}" alt="{html.escape(item["alt"])}">'
        first, *other_lines = map(html.escape, item["lines"])
        kind = "".join(f' class="{name}"' for name in ("query", "wide") if item.get(name))
        cells.append(f"<li{kind}>{picture}<b>{first}</b>{'<br>'.join(other_lines)}</li>")
    return f'<ul class="strip">{"".join(cells)}</ul>'
