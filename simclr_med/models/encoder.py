"""What all encoders share: input range, stem, groups of blocks, global average pooling."""

from __future__ import annotations

from simclr_med.models.input_range import to_range
from simclr_med.models.remat import remat
from simclr_med.models.symbolic import Composite, is_symbolic, mean_over_image


class Encoder(Composite):
    """RGB images [n, H, W, 3] in [0, 1] to features [n, d].

    A subclass sets `family` (of --encoder), `stem`, `groups` (lists of blocks), `num_features` and, if
    needed, overrides `finish`.

    Args:
      input_range: what the first layer sees, see input_range.py.
      remat: keep only the blocks' inputs for the backward pass, see remat.py.
    """

    family: str
    stem: Composite
    groups: list[list[Composite]]
    num_features: int
    pooled_shortcuts = False  # ResNet-D's (arXiv:1812.01187)

    def __init__(self, *, input_range: str, remat: bool):
        super().__init__()
        self.input_range = input_range
        self.remat = remat

    def freeze(self, num_groups: int) -> None:
        """Fixes the stem and the first `num_groups` groups, BatchNorm statistics included.

        With all groups the whole encoder is fixed: also what comes after them, as BiT's last norm.
        """
        if num_groups >= len(self.groups):
            self.trainable = False
            return
        self.stem.trainable = False
        for group in self.groups[:num_groups]:
            for block in group:
                block.trainable = False

    def call(self, images, training):
        return mean_over_image(self.feature_map(images, training))  # [n, d]

    def feature_map(self, images, training=False):
        """Returns the last feature map, [n, h, w, d], of which the features are the mean.

        Args:
          images: RGB in [0, 1], [n, H, W, 3].
          training: BatchNorm uses, and moves, its statistics.
        """
        x = self.first_layer(images, training)
        for group in self.groups:
            for block in group:
                x = self._run_block(block, x, training)
        return self.finish(x, training)

    def first_layer(self, images, training=False):
        """Returns the output of the stem, [n, h, w, C].

        Args:
          images, training: as in `feature_map`.
        """
        return self.stem(to_range(images, self.input_range), training=training)

    def _run_block(self, block, x, training):
        if self.remat and training and not is_symbolic(x):
            if not block.built:  # variables cannot be made inside a block that is run twice
                block(x, training=False)
            return remat(lambda x: block(x, training=training), x)
        return block(x, training=training)

    def finish(self, x, training):
        """Returns the last feature map as it is averaged."""
        return x
