"""The encoder of a VQ model in closed form: Haar wavelets of each patch of a picture, projected on what varies most.

Fitted from random weights, these architectures need hours: their group norms hold few channels each and wipe out how much
of a colour there is. So every residual branch is silent, and the path around the branches is set by hand. It serves the
encoders of Emu3, Chameleon and Janus, which are built of the same layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

_WAVELETS = torch.tensor([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]) / 4
FEATURES = 30  # of a patch of 8 × 8 pixels: 3 means, then details from fine to coarse
_CARRIER = 100.0  # far above any feature


def clear(*layers: nn.Module) -> None:
    """Set weights to zero."""
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)


def set_encoder(
    encoder: nn.Module, halvings: Sequence[nn.Conv2d], spread: nn.Conv2d, run: Callable[[Tensor], object], seen: Tensor
) -> None:
    """Make an encoder with silent branches the projection of each patch's wavelets.

    Args:
        encoder: with `conv_in`, `norm_out` and `conv_out`.
        halvings: its three convolutions of stride 2.
        spread: of the last level, to four channels for each feature.
        run: passes pixels (B, 3, H, W) through the encoder.
        seen: pixels (N, 3, H, W), whose details choose the projection.
    """
    clear(encoder.conv_in, encoder.conv_out)
    encoder.conv_in.weight[range(3), range(3), 1, 1] = 1
    count = 3
    for conv in halvings:
        count = _set_wavelets(conv, count)
    assert count == FEATURES
    _carry(encoder.norm_out, spread)
    projection = _projection(_features(encoder.norm_out, run, seen), width=len(encoder.conv_out.weight))
    # swish(x) − swish(−x) = x
    encoder.conv_out.weight[: len(projection), 0 : 4 * FEATURES : 4, 1, 1] = projection
    encoder.conv_out.weight[: len(projection), 1 : 4 * FEATURES : 4, 1, 1] = -projection


def _set_wavelets(conv: nn.Conv2d, count: int) -> int:
    """Halve the resolution: the three means become means and details, the other channels are averaged."""
    clear(conv)
    for colour in range(3):
        conv.weight[colour, colour, :2, :2] = _WAVELETS[0]
        for detail in range(1, 4):
            conv.weight[3 * (colour + 1) + detail - 1, colour, :2, :2] = _WAVELETS[detail]
    for old in range(3, count):
        conv.weight[9 + old, old, :2, :2] = _WAVELETS[0]
    return count + 9


def _carry(norm: nn.GroupNorm, spread: nn.Conv2d) -> None:
    """Make the last norm linear: a group is (x, −x, c, −c), whose mean is 0 and whose variance hardly knows x."""
    clear(spread)
    spread.weight[range(0, 4 * FEATURES, 4), range(FEATURES), 0, 0] = 1
    spread.weight[range(1, 4 * FEATURES, 4), range(FEATURES), 0, 0] = -1
    spread.bias[2::4], spread.bias[3::4] = _CARRIER, -_CARRIER
    norm.weight.fill_(_CARRIER / 2**0.5)


def _features(norm: nn.GroupNorm, run: Callable[[Tensor], object], seen: Tensor) -> Tensor:
    """(N, F) of every patch."""
    found: list[Tensor] = []
    hook = norm.register_forward_hook(lambda module, given, made: found.append(made.clone()))
    for part in seen.split(32):
        run(part)
    hook.remove()
    return torch.cat(found).permute(0, 2, 3, 1).flatten(0, 2)[:, 0 : 4 * FEATURES : 4]


def _projection(features: Tensor, width: int) -> Tensor:
    """(D, F): the mean colour, which matters most, then the principal components of the details."""
    width = min(width, FEATURES)
    details = features[:, 3:] - features[:, 3:].mean(0)
    _, _, components = torch.linalg.svd(details.T @ details)
    projection = torch.zeros(width, FEATURES)
    projection[:3, :3] = 2 * torch.eye(3)
    projection[3:, 3:] = components[: width - 3]
    return projection
