"""A SimCLR step written by hand in PyTorch, to compare simclr_med with.

The network is simclr_med's, weight for weight: ResNet (7 x 7 stem), projection head, optionally the
linear head that trains beside it; BatchNorm in float32 with its last gammas at zero; NT-Xent; LARS. In
channels-last memory, in float32 or under bfloat16 autocast, on any device. Needs only PyTorch and NumPy:
other scripts run it in an interpreter that has them.

torch_check.py compares loss, gradient and updated weights with simclr_med, and the loss with its formula.
"""

from __future__ import annotations

import os
from collections.abc import Callable

# Waiting threads sleep. If they spin while the machine does other work, a step of ResNet-18 costs 5.0
# CPU seconds instead of 1.3, most of it waiting.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when PyTorch is imported

import torch  # noqa: E402
from flops import BLOCKS_PER_GROUP  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

PROJECTION = 128
TEMPERATURE = 0.1
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, TRUST_COEFFICIENT = 0.1, 0.9, 1e-6, 0.001


def torch_work(
    depth: int,
    size: int,
    batch: int,
    bfloat16: bool,
    *,
    projection_layers: int = 2,
    classes: int = 0,
) -> Callable[[], int]:
    """Returns work that takes one step on the CPU, warmed up; it returns 1, the number of steps.

    The arguments are those of `torch_step`.
    """
    step = torch_step(
        depth, size, batch, bfloat16, projection_layers=projection_layers, classes=classes
    )

    def work() -> int:
        assert float(step()) > 0
        return 1

    for _ in range(2):
        work()
    return work


def torch_step(
    depth: int,
    size: int,
    batch: int,
    bfloat16: bool,
    *,
    projection_layers: int = 2,
    classes: int = 0,
    device: str = "cpu",
) -> Callable[[], torch.Tensor]:
    """Returns a function that takes one step and returns the loss, maybe not yet computed.

    Args:
      depth: of the ResNet: 18, 34, 50, 101.
      size: px, above 32 and a multiple of 4.
      batch: pairs; 2 * batch views pass through the network.
      bfloat16: under bfloat16 autocast rather than in float32.
      projection_layers: number of layers of the projection head; the last is 128 wide.
      classes: of the linear head beside it; 0: none.
      device: "cpu", "cuda".
    """
    torch.manual_seed(0)
    network = Network(depth, projection_layers, classes)
    network = network.to(device, memory_format=torch.channels_last)
    optimizer = Lars(network)
    views = torch.rand([2 * batch, 3, size, size], device=device)
    views = views.contiguous(memory_format=torch.channels_last)
    labels = (torch.arange(batch, device=device) % classes) if classes else None
    return lambda: take_step(network, optimizer, views, labels, bfloat16=bfloat16)


def take_step(network, optimizer, views, labels=None, *, bfloat16: bool) -> torch.Tensor:
    """Updates the network and returns the loss before the update.

    Args:
      network: a `Network`.
      optimizer: its `Lars`.
      views: float [2b, 3, H, W] in [0, 1], all first views before all second ones.
      labels: int [b] for the linear head; None without one.
      bfloat16: see `torch_step`.
    """
    optimizer.forget_gradients()
    with torch.autocast(views.device.type, torch.bfloat16, enabled=bfloat16):
        projected, logits = network(views)
    loss = nt_xent(*projected.float().chunk(2), TEMPERATURE)
    if labels is not None:
        loss = loss + F.cross_entropy(logits.float(), torch.cat([labels, labels]))
        loss = loss + WEIGHT_DECAY / 2 * network.linear.weight.square().sum()
    loss.backward()
    optimizer.update()
    return loss.detach()


def nt_xent(z1: torch.Tensor, z2: torch.Tensor, temperature: float) -> torch.Tensor:
    """Returns mean(loss_a + loss_b) over the pairs (z1[i], z2[i]), as in SimCLR's code.

    Args:
      z1, z2: projections [b, p] of the first and the second views, not normalised.
      temperature: positive.
    """
    z = F.normalize(torch.cat([z1, z2]), dim=1)  # [2b, p]
    similarity = z @ z.T / temperature
    similarity.fill_diagonal_(float("-inf"))  # a view is no negative of itself
    b = len(z1)
    partner = torch.arange(2 * b, device=z.device).roll(b)
    return 2 * F.cross_entropy(similarity, partner)


class Lars:
    """LARS with the learning rate inside the momentum, on all parameters at once.

    Vectors (BatchNorm's, biases) and the linear head have neither decay nor trust ratio.
    """

    def __init__(self, network: Network):
        head = set(network.linear.parameters()) if network.linear else set()
        trained = [p for p in network.parameters() if p.requires_grad]
        self.adapted = [p for p in trained if p.ndim > 1 and p not in head]
        self.plain = [p for p in trained if p.ndim == 1 or p in head]
        self.momentums = {p: torch.zeros_like(p) for p in trained}

    def forget_gradients(self) -> None:
        """Clears the gradients."""
        for p in self.momentums:
            p.grad = None

    @torch.no_grad()
    def update(self) -> None:
        """Updates the parameters by their gradients."""
        gradients = torch._foreach_add(
            [p.grad for p in self.adapted], self.adapted, alpha=WEIGHT_DECAY
        )
        weight_norms = torch.stack(torch._foreach_norm(self.adapted))
        gradient_norms = torch.stack(torch._foreach_norm(gradients))
        trust = TRUST_COEFFICIENT * weight_norms / gradient_norms
        trust = torch.where((weight_norms > 0) & (gradient_norms > 0), trust, 1.0)
        torch._foreach_mul_(gradients, list(trust.unbind()))
        self._move(self.adapted, gradients)
        self._move(self.plain, [p.grad for p in self.plain])

    def _move(self, parameters, gradients) -> None:
        momentums = [self.momentums[p] for p in parameters]
        torch._foreach_mul_(momentums, MOMENTUM)
        torch._foreach_add_(momentums, gradients, alpha=LEARNING_RATE)
        torch._foreach_sub_(parameters, momentums)


class Network(nn.Module):
    """Views [n, 3, H, W] in [0, 1] to (projections [n, 128], logits [n, classes] or None).

    Parameters are created in the order of `simclr_med.models.Model`'s trainable variables.
    """

    def __init__(self, depth: int, projection_layers: int, classes: int):
        super().__init__()
        block = Bottleneck if depth >= 50 else Basic
        self.stem = nn.Sequential(
            *conv(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True)
        )
        blocks, channels = [], 64
        for group, count in enumerate(BLOCKS_PER_GROUP[depth]):
            for i in range(count):
                stride = 2 if group and i == 0 else 1
                blocks.append(block(channels, 64 * 2**group, stride, project=i == 0))
                channels = 64 * 2**group * block.expansion
        self.blocks = nn.Sequential(*blocks)
        self.projection = nn.Sequential()
        for i in range(projection_layers):
            last = i == projection_layers - 1
            self.projection.extend(projection_layer(channels, last=last))
        self.linear = nn.Linear(channels, classes) if classes else None

    def forward(self, views):
        features = self.blocks(self.stem(views)).mean([2, 3])  # [n, d]
        logits = self.linear(features.detach()) if self.linear else None
        return self.projection(features), logits


class Basic(nn.Module):
    """Two 3 x 3 convolutions."""

    expansion = 1

    def __init__(self, channels: int, filters: int, stride: int, *, project: bool):
        super().__init__()
        self.shortcut = nn.Sequential(*conv(channels, filters, 1, stride)) if project else None
        self.body = nn.Sequential(
            *conv(channels, filters, 3, stride),
            nn.ReLU(inplace=True),
            *conv(filters, filters, 3, zero_gamma=True),
        )

    def forward(self, x):
        return F.relu(self.body(x) + (self.shortcut(x) if self.shortcut else x), inplace=True)


class Bottleneck(Basic):
    """1 x 1, 3 x 3 (with the stride), 1 x 1 to four times the filters."""

    expansion = 4

    def __init__(self, channels: int, filters: int, stride: int, *, project: bool):
        nn.Module.__init__(self)
        out = 4 * filters
        self.shortcut = nn.Sequential(*conv(channels, out, 1, stride)) if project else None
        self.body = nn.Sequential(
            *conv(channels, filters, 1),
            nn.ReLU(inplace=True),
            *conv(filters, filters, 3, stride),
            nn.ReLU(inplace=True),
            *conv(filters, out, 1, zero_gamma=True),
        )


def conv(channels: int, filters: int, kernel: int, stride: int = 1, *, zero_gamma=False):
    """Returns a convolution without bias and its BatchNorm."""
    layer = nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.trunc_normal_(layer.weight, std=(channels * kernel**2) ** -0.5)
    norm = nn.BatchNorm2d(filters)  # eps 1e-5; momentum 0.1 is Keras's 0.9
    if zero_gamma:
        nn.init.zeros_(norm.weight)
    return layer, norm


def projection_layer(channels: int, *, last: bool) -> list[nn.Module]:
    """Returns Dense, BatchNorm and ReLU; the last layer has no ReLU, and its BatchNorm no bias."""
    dense = nn.Linear(channels, PROJECTION if last else channels, bias=False)
    nn.init.normal_(dense.weight, std=0.01)
    norm = nn.BatchNorm1d(dense.out_features)
    norm.bias.requires_grad_(not last)
    return [dense, norm] if last else [dense, norm, nn.ReLU(inplace=True)]
