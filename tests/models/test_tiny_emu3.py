"""The tiny Emu3 that is built offline."""

import torch

from aa_lightning.models.tiny import emu3_vq
from aa_lightning.models.tiny.codebook import clusters


def test_every_cluster_of_points_far_apart_gets_its_centre():
    torch.manual_seed(0)
    corners = torch.tensor([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 9.0]])
    points = corners.repeat(25, 1) + 0.1 * torch.randn(100, 2)
    centres = clusters(points, 4)
    assert torch.cdist(corners, centres).min(1).values.max() < 0.1


def test_the_encoder_is_linear_in_a_patch_whatever_stands_beside_it():
    """A patch with the same pixels has the same latents in two pictures, although norms look at whole pictures."""
    torch.manual_seed(0)
    vq = emu3_vq.fitted(codes=16, width=12, image_size=24, steps=0)
    pictures = torch.randn(2, 3, 24, 24)
    pictures[:, :, 8:16, 8:16] = pictures[0, :, 8:16, 8:16]
    with torch.no_grad():
        middle = emu3_vq._latents(vq, pictures)[:, 0, :, 1, 1]
    assert (middle[0] - middle[1]).abs().max() < 0.05 * middle.std()
