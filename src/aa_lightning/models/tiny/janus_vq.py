"""The VQ model of the tiny Janus, in closed form: wavelets of a patch into a code, and a code into one colour.

The library makes codes unit vectors before it decodes them. So each code has one long entry, the same in all, beside which
the others are small, and what is drawn for it stands in entries too short to matter when the nearest code is sought.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import JanusVQVAE, JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVQVAEAttnBlock, JanusVQVAEConvUpsample, JanusVQVAEResnetBlock

from aa_lightning.models.tiny import wavelets
from aa_lightning.models.tiny.codebook import clusters
from aa_lightning.models.tiny.wavelets import clear

_BASE = 32
FACTOR = 8  # pixels to a code
_LONG, _SHORT = 100.0, 0.01  # scales of the entry that all codes share, and of the colours
_LAST = {JanusVQVAEResnetBlock: lambda b: b.conv2, JanusVQVAEAttnBlock: lambda b: b.proj_out}  # of each branch


def fitted(codes: int, width: int, image_size: int, seen: Tensor, backbone: int) -> JanusVQVAE:
    """A VQ model through which the colours of Shapes pass unharmed. It draws each patch in the colour of its figure.

    Args:
        codes: of the codebook.
        width: of what a code knows of its patch.
        image_size: of the pictures.
        seen: pixels (N, 3, H, W) as the image processor gives them.
        backbone: width of the language model's hidden states.
    """
    config = JanusVQVAEConfig(
        num_embeddings=codes,
        embed_dim=width + 4,
        latent_channels=width + 4,
        base_channels=_BASE,
        channel_multiplier=[4, 4, 4, 4],
        num_res_blocks=1,
        num_patches=image_size // FACTOR,
        projection_dim=backbone,
        image_token_embed_dim=backbone,
    )
    vq = JanusVQVAE(config).eval()
    with torch.no_grad():
        wavelets.silence(vq, _LAST)
        _set_encoder(vq, width, seen)
        latents = torch.cat([vq.quant_conv(vq.encoder(part)) for part in seen.split(32)])
        latents = latents.permute(0, 2, 3, 1).flatten(0, 2)[:, :width]
        centres = clusters(latents, codes)
        colours = _colours(seen, torch.cdist(latents, centres).argmin(1), codes)
        vq.quantize.embedding.weight.copy_(torch.cat([centres, _SHORT * colours, torch.full((codes, 1), _LONG)], 1))
        _set_decoder(vq, width)
    return vq


def _set_encoder(vq: JanusVQVAE, width: int, seen: Tensor) -> None:
    encoder = vq.encoder
    widen = encoder.down[0].block[0].nin_shortcut
    clear(widen, vq.quant_conv)
    widen.weight[range(3), range(3), 0, 0] = 1
    halvings = [level.downsample.conv for level in list(encoder.down)[:-1]]
    wavelets.set_encoder(encoder, halvings, None, encoder, seen)
    vq.quant_conv.weight[range(width), range(width), 0, 0] = 1
    vq.quant_conv.bias[-1] = _LONG


def _colours(seen: Tensor, nearest: Tensor, codes: int) -> Tensor:
    """(C, 3) what the patches of each code show on the background, or the background."""
    patches = nn.functional.unfold(seen, FACTOR, stride=FACTOR).transpose(1, 2).flatten(0, 1)
    patches = patches.unflatten(1, (3, FACTOR**2)).transpose(1, 2)  # (N, pixels, 3)
    mean = torch.zeros(codes, *patches.shape[1:]).index_add(0, nearest, patches)
    mean = mean / torch.bincount(nearest, minlength=codes).clamp(min=1)[:, None, None]
    background = seen.flatten(2).median(-1).values.median(0).values
    away = (mean - background).square().sum(-1, keepdim=True) ** 2 + 1e-6
    return (away * mean).sum(1) / away.sum(1)


def _set_decoder(vq: JanusVQVAE, width: int) -> None:
    """The colour of each code on its whole patch, through norms that carry it unharmed."""
    decoder, colours = vq.decoder, range(3)
    clear(vq.post_quant_conv)
    vq.post_quant_conv.weight[colours, range(width, width + 3), 0, 0] = _LONG / _SHORT
    weight = torch.zeros(3, decoder.conv_in.in_channels, 3, 3)
    weight[colours, colours, 1, 1] = 1
    wavelets.carry(decoder.conv_in, weight)
    for module in decoder.modules():
        if isinstance(module, JanusVQVAEConvUpsample):
            clear(module.conv)
            channels = range(len(module.conv.weight))
            module.conv.weight[channels, channels, 1, 1] = 1
    decoder.norm_out.weight.fill_(wavelets.CARRIED)
    wavelets.set_reading(decoder.conv_out, torch.eye(3))
