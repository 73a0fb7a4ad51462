"""Encoders of few blocks, which build and train in seconds; each kind of layer is still there."""

from simclr_med.models import bit, resnet


def shorten(patch, blocks=(1,), **lengths):
    """Makes every ResNet and BiT have the given number of blocks per group, until the patch is undone.

    Args:
      patch: a `pytest.MonkeyPatch`.
      blocks: residual blocks of each group; fewer than four leave later groups out.
      **others: another number for some, by name: resnet34=(2,), bit101=(2, 1).
    """
    for family, table in (("resnet", resnet.BLOCKS_PER_GROUP), ("bit", bit.UNITS_PER_GROUP)):
        for depth in list(table):
            patch.setitem(table, depth, lengths.pop(f"{family}{depth}", blocks))
    assert not lengths, f"no such encoders: {', '.join(lengths)}"


def one_true_block(patch):
    """Encoders of one block that know how many features they have, as an export asks."""
    shorten(patch)
    make = resnet.ResNet.__init__

    def make_and_count(self, *args, **options):
        make(self, *args, **options)
        self.num_features = 64

    patch.setattr(resnet.ResNet, "__init__", make_and_count)
