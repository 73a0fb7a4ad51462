"""Draws docs/report.png: parts of a report.html beside each other, at a size that can be read.

Usage: python docs/draw_report.py RUN/report.html     (needs chromium; a run of the demo, see docs/map.md)
"""

import io
import pathlib
import re
import subprocess
import sys
import tempfile

from PIL import Image

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


def parts(page: str) -> str:
    """Returns the page with its top on the left and some of its sections on the right."""
    head, body = page.split("<body>")
    top = body.split("<nav")[0].replace("<main>", "")
    sections = re.findall(r"<section><h2[^>]*>(.*?)</h2>.*?</section>", body, re.DOTALL)
    whole = re.findall(r"<section>.*?</section>", body, re.DOTALL)
    of = dict(zip(sections, whole, strict=True))
    right = "".join(of[name] for name in _RIGHT)
    head = head.replace("</style>", f"{_LAYOUT}</style>")
    return f"{head}<body><div>{top}</div><div>{right}</div></body></html>"


def main(path: str) -> None:
    """Writes docs/report.png."""
    with tempfile.TemporaryDirectory() as folder:
        page, shot = pathlib.Path(folder, "page.html"), pathlib.Path(folder, "shot.png")
        page.write_text(parts(pathlib.Path(path).read_text(encoding="utf-8")), encoding="utf-8")
        size = f"--window-size={_WIDTH},{_HEIGHT}"
        options = ("--headless", "--no-sandbox", "--hide-scrollbars", size)
        scale = f"--force-device-scale-factor={_SCALE}"
        command = ["chromium", *options, scale, f"--screenshot={shot}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        picture = Image.open(io.BytesIO(shot.read_bytes())).convert("RGB")
    small = picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(pathlib.Path(__file__).with_name("report.png"), optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
