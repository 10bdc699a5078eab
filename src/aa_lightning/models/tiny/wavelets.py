"""The encoder of a VQ model in closed form: Haar wavelets of each patch of a picture, projected on what varies most.

Fitted from random weights, these architectures need hours: their group norms hold few channels each and wipe out how much
of a colour there is. So every residual branch is silent, and the path around the branches is set by hand. It serves the
encoders of Emu3, Chameleon and Janus, which are built of the same layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_WAVELETS = torch.tensor([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]) / 4
FEATURES = 30  # of a patch of 8 × 8 pixels: 3 means, then details from fine to coarse
_CARRIER = 100.0  # far above any feature
CARRIED = _CARRIER / 2**0.5


def clear(*layers: nn.Module) -> None:
    """Set weights to zero."""
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)


def silence(vq: nn.Module, last: Mapping[type, Callable[[Any], nn.Module]]) -> None:
    """Let pictures pass by the branches beside the straight way through a VQ model.

    Args:
        vq: the model.
        last: the last layer of each kind of branch.
    """
    for branch in vq.modules():
        if type(branch) in last:
            clear(last[type(branch)](branch))


def set_encoder(
    encoder: nn.Module,
    halvings: Sequence[nn.Conv2d],
    spread: nn.Conv2d | None,
    run: Callable[[Tensor], object],
    seen: Tensor,
) -> None:
    """Make an encoder with silent branches the projection of each patch's wavelets.

    Args:
        encoder: with `conv_in`, `norm_out` and `conv_out`.
        halvings: its three convolutions of stride 2.
        spread: of the last level, to four channels for each feature; None: the last of `halvings` does it.
        run: passes pixels (B, 3, H, W) through the encoder.
        seen: pixels (N, 3, H, W), whose details choose the projection.
    """
    clear(encoder.conv_in)
    encoder.conv_in.weight[range(3), range(3), 1, 1] = 1
    count = 3
    for conv in halvings:
        count = _set_wavelets(conv, count)
    assert count == FEATURES
    if spread is None:
        spread, made = halvings[-1], halvings[-1].weight[:FEATURES].clone()
    else:
        made = torch.eye(FEATURES, spread.in_channels)[..., None, None]
    carry(spread, made)
    encoder.norm_out.weight.fill_(CARRIED)
    projection = _projection(_features(encoder.norm_out, run, seen), width=len(encoder.conv_out.weight))
    set_reading(encoder.conv_out, projection)


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


def carry(conv: nn.Conv2d, weight: Tensor) -> None:
    """Let a norm behind it be linear: its groups hold (x, −x, c, −c), whose mean is 0 and whose variance hardly knows x.

    The norm's own weight is then CARRIED.

    Args:
        weight: (N, …) of the features x, which get four channels each.
    """
    clear(conv)
    count = 4 * len(weight)
    conv.weight[0:count:4], conv.weight[1:count:4] = weight, -weight
    conv.bias[2:count:4], conv.bias[3:count:4] = _CARRIER, -_CARRIER


def set_reading(conv: nn.Conv2d, weight: Tensor) -> None:
    """A map of carried features, behind the norm and swish: swish(x) − swish(−x) = x.

    Args:
        weight: (D, N) of N features.
    """
    clear(conv)
    count = 4 * weight.shape[1]
    conv.weight[: len(weight), 0:count:4, 1, 1] = weight
    conv.weight[: len(weight), 1:count:4, 1, 1] = -weight


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
