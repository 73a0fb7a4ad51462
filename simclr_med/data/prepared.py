"""A hashable key for a prepared dataset, for caches within a process."""

from __future__ import annotations

from typing import Any


class Prepared:
    """A builder that equals any other of the same prepared dataset, so that it can be a key of a cache.

    Args:
      builder: of a prepared dataset.
    """

    def __init__(self, builder: Any):
        self.builder = builder
        sizes = tuple((name, split.num_examples) for name, split in builder.info.splits.items())
        fingerprint = (builder.info.metadata or {}).get("fingerprint")
        self._key = str(builder.data_path), fingerprint, sizes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prepared) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)
