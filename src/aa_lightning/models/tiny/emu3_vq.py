"""The VQ model of the tiny Emu3: an encoder and a codebook in closed form, and a decoder fitted for some seconds.

Every residual branch starts at zero, and the path around the branches is set by hand: wavelets of a patch in the encoder
(`wavelets.py`), the mean colour of a patch in the decoder. Training then adds the detail.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import Emu3VQVAEConfig
from transformers.models.emu3.modeling_emu3 import (
    Emu3VQVAE,
    Emu3VQVAEAttentionBlock,
    Emu3VQVAEResnetBlock,
    Emu3VQVAETemporalResnetBlock,
)

from aa_lightning.models.tiny import wavelets
from aa_lightning.models.tiny.backbone import PIXELS
from aa_lightning.models.tiny.codebook import clusters
from aa_lightning.models.tiny.stable_diffusion import pictures
from aa_lightning.models.tiny.wavelets import clear

_BASE = 32  # channels; the norms have 32 groups
_LAST = {
    Emu3VQVAEResnetBlock: lambda b: b.conv2,
    Emu3VQVAETemporalResnetBlock: lambda b: b.conv2.conv,
    Emu3VQVAEAttentionBlock: lambda b: b.out_proj,
}  # of each branch


def fitted(codes: int, width: int, image_size: int, steps: int) -> Emu3VQVAE:
    """A VQ model through which the colours of Shapes pass unharmed, with 8 × 8 pixels to a code.

    Args:
        codes: of the codebook.
        width: of a code.
        image_size: of the pictures that it is fitted on.
        steps: of the decoder's fit.
    """
    config = Emu3VQVAEConfig(
        codebook_size=codes,
        embed_dim=width,
        latent_channels=width,
        temporal_downsample_factor=1,
        base_channels=_BASE,
        channel_multiplier=[1, 1, 1, 4],
        num_res_blocks=1,
        attn_resolutions=[],
        hidden_size=4 * _BASE,
        num_attention_heads=1,
    )
    vq = Emu3VQVAE(config).eval()
    crowded, sparse = (pictures("train", n, image_size, max_shapes=m) for n, m in ((384, 9), (640, 2)))
    seen = _normalised(torch.cat([crowded, sparse]))
    with torch.no_grad():
        wavelets.silence(vq, _LAST)
        _set_encoder(vq, seen[::2])
        latents = torch.cat([_latents(vq, part) for part in seen[::2].split(32)])
        vq.quantize.embedding.weight.copy_(clusters(latents.permute(0, 1, 3, 4, 2).reshape(-1, width), codes))
        _set_decoder(vq)
    _fit_decoder(vq, seen, steps)
    return vq.eval()


def _normalised(pixels: Tensor) -> Tensor:
    """Pixels in [−1, 1] as the image processor gives them."""
    return ((pixels + 1) / 2 - PIXELS["image_mean"][0]) / PIXELS["image_std"][0]


def _latents(vq: Emu3VQVAE, pixels: Tensor) -> Tensor:
    """(B, 1, D, h, w) before quantisation."""
    return vq.quant_conv(vq.encoder(pixels[:, None]).transpose(1, 2)).transpose(1, 2)


def _set_encoder(vq: Emu3VQVAE, seen: Tensor) -> None:
    levels = list(vq.encoder.down_block.down)
    halvings = [level.downsample.conv for level in levels[:-1]]
    wavelets.set_encoder(
        vq.encoder, halvings, levels[-1].block[0].nin_shortcut, lambda pixels: vq.encoder(pixels[:, None]), seen
    )
    clear(vq.quant_conv)
    _pass_through(vq.quant_conv.conv)


def _pass_through(conv: nn.Conv3d) -> None:
    """The last temporal tap sees the only frame of a picture."""
    clear(conv)
    channels = range(len(conv.weight))
    conv.weight[channels, channels, -1, 0, 0] = 1


def _set_decoder(vq: Emu3VQVAE) -> None:
    """Each patch in its mean colour, through the shift of the last norm; what the norm itself says counts little."""
    decoder, norm = vq.decoder, vq.decoder.norm_out
    _pass_through(vq.post_quant_conv.conv)
    clear(norm.conv_y, norm.conv_b, decoder.conv_out)
    colours = range(3)
    norm.conv_b.weight[colours, colours, 0, 0] = 0.5
    norm.conv_b.weight[range(3, 6), colours, 0, 0] = -0.5
    decoder.conv_out.weight[colours, colours, 1, 1] = 1
    decoder.conv_out.weight[colours, range(3, 6), 1, 1] = -1
    nn.init.normal_(norm.conv_y.weight, std=0.05)


def _fit_decoder(vq: Emu3VQVAE, seen: Tensor, steps: int, lr: float = 5e-3) -> None:
    """Teach the decoder to draw what was seen from its codes."""
    with torch.no_grad():
        codes = torch.cat([vq.quantize(_latents(vq, part)) for part in seen.split(32)])[:, 0]
    trained: Sequence[nn.Parameter] = [*vq.decoder.parameters(), *vq.post_quant_conv.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=lr, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 20, 2 * (1 - step / steps))
        rows = torch.randint(len(seen), (4,))
        loss = (vq.decode(codes[rows]) - seen[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
