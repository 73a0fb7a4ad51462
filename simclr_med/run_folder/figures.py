"""A figure that cannot be drawn is a warning, named in result.json; no number depends on it.

Text in figures is shown as it is: no class is read as a formula, and one that the fonts of this
machine cannot write gets a number.
"""

from __future__ import annotations

import contextlib
import functools
import os
import unicodedata
from collections.abc import Iterator, Sequence

import matplotlib
from matplotlib import font_manager, ft2font

from simclr_med.errors import StorageUnavailable
from simclr_med.transient import described, is_transient

# Beside matplotlib's own DejaVu Sans, in this order, where they are installed: fonts of other scripts.
_OTHERS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei"),
    *("WenQuanYi Micro Hei", "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans GB"),
    *("Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Arabic", "Noto Sans Hebrew"),
    *("Arial Unicode MS", "Droid Sans Fallback"),
)


@contextlib.contextmanager
def drawn(path: str, failures: dict[str, str] | None = None) -> Iterator[None]:
    """While entered, an error is printed as a warning, and the figure at `path` is missing.

    Args:
      path: of the figure, for the message.
      failures: {name of the file: why}, which gets an entry.

    Raises:
      StorageUnavailable: storage does not answer; later it may.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, StorageUnavailable) or is_transient(error):
            raise
        name = os.path.basename(path)
        print(f"Warning: {name} could not be made ({described(error)}); all numbers are kept.")
        if failures is not None:
            failures[name] = described(error)


def style() -> dict:
    """Returns rcParams for text as it is, in fonts that are installed."""
    return {"text.parse_math": False, "font.family": list(_families())}


def writable(names: Sequence[str], numbered: str = "class {}") -> tuple[list[str], int]:
    """Returns labels of classes for a picture, and how many of them the fonts cannot write.

    These are numbered, from 1, as matplotlib would draw boxes. Letters that run from right to left are
    there in the fonts, but matplotlib before 3.11 neither joins nor turns them: they are numbered too.

    Args:
      names: of the classes, in their order.
      numbered: what stands for a name.
    """
    signs = _signs()
    able = [all(ord(c) in signs or c.isspace() for c in name) for name in names]
    labels = [
        name if ok else numbered.format(i + 1) for i, (name, ok) in enumerate(zip(names, able))
    ]
    return labels, able.count(False)


@functools.cache
def _families() -> tuple[str, ...]:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in _OTHERS if name in installed))


@functools.cache
def _signs() -> frozenset[int]:
    """Returns the code points that `_families` can write in a picture."""
    codes: set[int] = set()
    for family in _families():
        path = font_manager.findfont(family)
        codes |= set(ft2font.FT2Font(path).get_charmap())
    if matplotlib.__version_info__ >= (3, 11):
        return frozenset(codes)
    return frozenset(c for c in codes if unicodedata.bidirectional(chr(c)) not in ("R", "AL"))
