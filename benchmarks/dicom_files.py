"""Which DICOM files of a folder are read, by transfer syntax, and why the others are not.

    python benchmarks/dicom_files.py FOLDER [FOLDER ...] [--without_extra] [--frame all]

Every file whose content is DICOM is decoded as when a dataset is built. --without_extra hides the
decoders of the extra [dicom]. Files with the same content are counted once. The last line is JSON.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

EXTRA = ("pylibjpeg", "libjpeg", "openjpeg", "jpeg_ls")
MAX_PIXELS = 178_956_970  # pixels.MAX_PIXELS, whose module has imports not needed here


def files(folders: list[str]):
    """Yields (path, bytes) of the DICOM files below `folders`, without duplicates."""
    from tfds_builders.dicom import is_dicom

    seen = set()
    for folder in folders:
        for path in sorted(pathlib.Path(folder).rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                digest = hashlib.sha256(data).digest()
                if is_dicom(data) and digest not in seen:
                    seen.add(digest)
                    yield path, data


def syntax_of(data: bytes) -> str:
    """Returns the name of a file's transfer syntax."""
    from tfds_builders.dicom.data_set import read
    from tfds_builders.errors import ImageError

    try:
        syntax = read(data, max_bytes=1 << 30).syntax
    except ImageError:
        return "not to be read"
    return syntax.name if syntax is not None else "none stated"


def outcome(data: bytes, frame: str) -> tuple[str, str, tuple[str, ...]]:
    """Returns ("read", "passed over" or "refused"; the reason, "" if read; notes).

    Args:
      data: content of a DICOM file.
      frame: of a multi-frame file: "first", "middle" or "all".
    """
    from tfds_builders.dicom import dicom_pictures
    from tfds_builders.errors import ImageError, NotAPicture

    try:
        return "read", "", dicom_pictures(data, MAX_PIXELS, frame).notes
    except NotAPicture as error:
        return "passed over", str(error), ()
    except ImageError as error:
        return "refused", str(error), ()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--without_extra", action="store_true")
    parser.add_argument("--frame", choices=("first", "middle", "all"), default="first")
    args = parser.parse_args()
    if args.without_extra:
        sys.modules.update(dict.fromkeys(EXTRA))
    table = collections.defaultdict(collections.Counter)
    reasons, notes = collections.Counter(), collections.Counter()
    example: dict[str, str] = {}
    slowest = (0.0, "")
    for path, data in files(args.folders):
        start = time.perf_counter()
        what, reason, noted = outcome(data, args.frame)
        slowest = max(slowest, (time.perf_counter() - start, path.name))
        table[syntax_of(data)][what] += 1
        if reason:
            reasons[f"{what}: {reason}"] += 1
            example.setdefault(f"{what}: {reason}", path.name)
        notes.update(noted)
    total = sum(table.values(), collections.Counter())
    print(f"{'transfer syntax':66s} {'read':>5s} {'passed over':>12s} {'refused':>8s}")
    for syntax, row in [*sorted(table.items()), ("all", total)]:
        print(f"{syntax:66s} {row['read']:5d} {row['passed over']:12d} {row['refused']:8d}")
    for title, counted in (("Not read", reasons), ("Notes on what was read", notes)):
        print(f"\n{title}")
        for text, count in counted.most_common():
            print(f"{count:5d}  {text}" + (f" [{example[text]}]" if text in example else ""))
    print(f"\nslowest: {slowest[0]:.2f} s, {slowest[1]}")
    print(json.dumps({"without_extra": args.without_extra, "frame": args.frame, **total}))


if __name__ == "__main__":
    main()
