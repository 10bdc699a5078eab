"""The VQ model of the tiny Chameleon, in closed form, and a decoder for it, which the library has none of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import ChameleonVQVAE, ChameleonVQVAEConfig
from transformers.models.chameleon.modeling_chameleon import (
    ChameleonVQVAEEncoderAttnBlock,
    ChameleonVQVAEEncoderResnetBlock,
)

from aa_lightning.models.tiny import wavelets
from aa_lightning.models.tiny.codebook import clusters
from aa_lightning.models.tiny.wavelets import clear

_BASE = 32  # channels; the norms have 32 groups
FACTOR = 8  # pixels to a code
_LAST = {  # of each branch
    ChameleonVQVAEEncoderResnetBlock: lambda b: b.conv2,
    ChameleonVQVAEEncoderAttnBlock: lambda b: b.proj_out,
}


def fitted(codes: int, width: int, image_size: int, seen: Tensor) -> ChameleonVQVAE:
    """A VQ model through which the colours of Shapes pass unharmed.

    `post_quant_conv`, which the library keeps for a decoder, gives the pixels of a code's patch.

    Args:
        codes: of the codebook.
        width: of a code.
        image_size: of the pictures.
        seen: pixels (N, 3, H, W) as the image processor gives them.
    """
    config = ChameleonVQVAEConfig(
        num_embeddings=codes,
        embed_dim=width,
        latent_channels=3 * FACTOR**2,
        resolution=image_size,
        base_channels=_BASE,
        channel_multiplier=[1, 1, 1, 4],
        num_res_blocks=1,
        attn_resolutions=[],
    )
    vq = ChameleonVQVAE(config).eval()
    with torch.no_grad():
        wavelets.silence(vq, _LAST)
        levels = list(vq.encoder.down)
        halvings = [level.downsample.conv for level in levels[:-1]]
        wavelets.set_encoder(vq.encoder, halvings, levels[-1].block[0].nin_shortcut, vq.encoder, seen)
        clear(vq.quant_conv)
        vq.quant_conv.weight[range(width), range(width), 0, 0] = 1
        latents = torch.cat([vq.quant_conv(vq.encoder(part)) for part in seen.split(32)])
        latents = latents.permute(0, 2, 3, 1).reshape(-1, width)
        vq.quantize.embedding.weight.copy_(clusters(latents, codes))
        _set_patches(vq, latents, seen)
    return vq


def _set_patches(vq: ChameleonVQVAE, latents: Tensor, seen: Tensor) -> None:
    """The linear map from codes to the pixels of their patches, by least squares."""
    patches = nn.functional.pixel_unshuffle(seen, FACTOR).permute(0, 2, 3, 1).flatten(0, 2)
    # in doubles, so that rounding, which hangs on where memory begins, does not reach the weights
    found = torch.linalg.lstsq(nn.functional.pad(latents, (0, 1), value=1.0).double(), patches.double()).solution
    vq.post_quant_conv.weight.copy_(found[:-1].T[..., None, None])
    vq.post_quant_conv.bias.copy_(found[-1])


class Painter(nn.Module):
    """A decoder of the tiny Chameleon's codes, for `model.image_decoder`.

    Args:
        vq: whose codes it decodes.
    """

    def __init__(self, vq: ChameleonVQVAE):
        super().__init__()
        self.vq = vq

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) → pixels (B, 3, H, W), in the range that the image processor gives."""
        latents = self.vq.quantize.embedding(codes).permute(0, 3, 1, 2)
        return nn.functional.pixel_shuffle(self.vq.post_quant_conv(latents), FACTOR)
