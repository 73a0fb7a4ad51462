"""Lets several processes, on one machine or many, share the runs of one experiment."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from simclr_med import run_folder

_SECONDS_TO_WAIT = 5.0


def take(
    folders: Mapping[str, str], after: Mapping[str, str] | None = None
) -> Iterator[tuple[str, int]]:
    """Yields (name, number of runs left including it) of each run, locked until the next is requested.

    In order, except that runs which another process has locked come later, when that has finished or
    died; they are then done, or are taken over. Waits while all remaining runs are locked.

    Args:
      folders: {name: folder of the run}.
      after: {name: that of the run that has to be done before}.
    """
    left, announced, after = list(folders), False, after or {}
    while left:
        progressed = False
        for name in list(left):
            if after.get(name) in left:
                continue
            with run_folder.claimed(folders[name]) as is_claimed:
                if is_claimed:
                    progressed, announced = True, False
                    yield name, len(left)
                    left.remove(name)
        if left and not progressed:
            if not announced:
                print(
                    f"Waiting for {len(left)} run{'s' * (len(left) != 1)} of other processes, such as "
                    f"{left[0]}.",
                    flush=True,
                )
            announced = True
            time.sleep(_SECONDS_TO_WAIT)
