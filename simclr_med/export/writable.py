"""Whether a folder can be written, checked before minutes of computing rather than after."""

from __future__ import annotations

import os
import tempfile

from simclr_med.errors import UserError
from simclr_med.run_folder.files import is_remote


def check(folder: str, model_dir: str, *, of_run: bool, advice: str = "") -> None:
    """Tries to write a file where the folder is, or will be; leaves nothing behind.

    Args:
      folder: to be written; need not exist.
      model_dir: as the user gave it, or as it follows from the flags.
      of_run: whether it holds a run.
      advice: what to do instead; "": the usual.

    Raises:
      UserError: it cannot be written: no permission, a read-only file system, a file of that name.
    """
    if is_remote(folder):  # there, only writing tells
        return
    existing = os.path.abspath(folder)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        advice = advice or (
            "Copy the run to where you may write; or, for its encoder alone, give "
            f"--checkpoint={model_dir} --model_dir=ELSEWHERE."
            if of_run
            else "Give another --model_dir."
        )
        raise UserError(f"{existing} cannot be written ({error.strerror}). {advice}") from error
