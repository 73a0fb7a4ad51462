"""Draws pictures of a report.html: docs/report.png for the README, and docs/report/*.png, a section each.

Usage: python docs/draw_report.py RUN/report.html     (needs chromium; a run of the demo, see docs/map.md)
"""

import pathlib
import re
import subprocess
import sys
import tempfile

from PIL import Image, ImageChops

_DOCS = pathlib.Path(__file__).parent
_WIDTH, _HEIGHT, _SCALE = 1180, 1020, 1.5
_RIGHT = ("Which classes are mixed up", "Nearest neighbours")
_LAYOUT = f"""
body {{ max-width: none; width: {_WIDTH}px; height: {_HEIGHT}px; overflow: hidden; padding: 14px;
  display: grid; grid-template-columns: 1fr 1fr; gap: 24px; }}
body > div {{ min-width: 0; height: {_HEIGHT - 28}px; overflow: hidden; }}
h2 {{ margin-top: 1rem; }} div > section:first-child h2 {{ margin-top: 0; border-top: 0; }}
.broad img {{ max-width: 24rem; }} .strip {{ grid-template-columns: repeat(6, 1fr); }}
.strip li {{ font-size: .68rem; }}
"""
# The guided tour, docs/report.md: heading and extra style (which hides some parts) of each picture.
_TOUR_WIDTH, _TOUR_SCALE = 820, 1.25
_TOUR_LAYOUT = """
body { padding: 12px; margin: 0; max-width: none; } h2 { margin-top: 0; border-top: 0; padding-top: 0; }
.scroll { overflow: visible; } .numbers { font-size: .78rem; } .broad img { max-width: 100%; }
.strip { grid-template-columns: repeat(6, 1fr); } .strip li { font-size: .72rem; }
"""
_TOUR = {
    "results": (
        "Results",
        ".numbers { font-size: .7rem; } .numbers :is(td, th) { padding-right: .2rem; }",
    ),
    "each_class": ("Each class", ""),
    "curves": ("Curves", ""),
    "calibration": ("Calibration", ".narrow { max-width: 24rem; }"),
    "mixed_up": ("Which classes are mixed up", ".broad img { max-width: 38rem; }"),
    "subgroups": (
        "Subgroups",
        "tbody tr:nth-child(n+4):not(:nth-last-child(-n+2)) { display: none; }",
    ),
    "worst_errors": ("Worst errors", ".strip li:nth-child(n+7) { display: none; }"),
    "neighbours": ("Nearest neighbours", ".strip ~ .strip ~ .strip { display: none; }"),
    "map": ("Map of the cases", ""),
    "training": ("How training went", ".pair > :nth-child(n+3), .broad { display: none; }"),
}
# Of the palette, 48 where it is not said; 0: all colours, of photographs.
_COLOURS = {"top": 64, "worst_errors": 0, "neighbours": 0, "map": 0}


def sections(page: str) -> dict[str, str]:
    """Returns {heading: HTML of the section}."""
    names = re.findall(r"<section><h2[^>]*>(.*?)</h2>", page)
    return dict(zip(names, re.findall(r"<section>.*?</section>", page, re.DOTALL), strict=True))


def parts(page: str) -> str:
    """Returns the page with its top on the left and the sections of _RIGHT on the right."""
    top = page.split("<body>")[1].split("<nav")[0].replace("<main>", "")
    right = "".join(sections(page)[name] for name in _RIGHT)
    return _with_style(page, _LAYOUT, f"<div>{top}</div><div>{right}</div>")


def tour(page: str) -> dict[str, str]:
    """Returns {name of the picture: page with one section}; "top" is all above the table of contents."""
    top = page.split("<body>")[1].split("<nav")[0].replace("<main>", "")
    pages = {"top": _with_style(page, _TOUR_LAYOUT, top)}
    for name, (heading, style) in _TOUR.items():
        pages[name] = _with_style(page, _TOUR_LAYOUT + style, sections(page)[heading])
    return pages


def _with_style(page: str, style: str, body: str) -> str:
    head = page.split("<body>")[0].replace("</style>", f"{style}</style>")
    return f"{head}<body>{body}</body></html>"


def draw(
    page: str, path: pathlib.Path, width: int, height: int, scale: float, colours: int
) -> None:
    """Writes a picture of a page, without the white area below its end.

    Args:
      page: HTML.
      path: of the picture.
      width: of the window, CSS px.
      height: of the window, CSS px; what is below is cut off.
      scale: pixels per CSS px.
      colours: of the palette; 0: none, all colours are kept.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, shot = pathlib.Path(folder, "page.html"), pathlib.Path(folder, "shot.png")
        file.write_text(page, encoding="utf-8")
        options = (
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--window-size={width},{height}",
        )
        scaling = f"--force-device-scale-factor={scale}"
        command = ["chromium", *options, scaling, f"--screenshot={shot}", file.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        picture = Image.open(shot).convert("RGB")
    white = Image.new("RGB", picture.size, "white")
    bottom = ImageChops.difference(picture, white).getbbox()[3]
    picture = picture.crop((0, 0, picture.width, min(bottom + 12, picture.height)))
    if not colours:
        picture.save(path, optimize=True)
        return
    # Median cut keeps the colours of areas and photographs, maximum coverage those of thin lines.
    method = Image.Quantize.MEDIANCUT if colours >= 64 else Image.Quantize.MAXCOVERAGE
    picture.quantize(colours, method=method, dither=Image.Dither.NONE).save(path, optimize=True)


def main(path: str) -> None:
    """Writes docs/report.png and docs/report/*.png."""
    page = pathlib.Path(path).read_text(encoding="utf-8")
    draw(parts(page), _DOCS / "report.png", _WIDTH, _HEIGHT, _SCALE, 256)
    (_DOCS / "report").mkdir(exist_ok=True)
    for name, section_page in tour(page).items():
        colours = _COLOURS.get(name, 48)
        draw(
            section_page, _DOCS / "report" / f"{name}.png", _TOUR_WIDTH, 2400, _TOUR_SCALE, colours
        )


if __name__ == "__main__":
    main(sys.argv[1])
