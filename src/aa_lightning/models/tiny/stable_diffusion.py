"""A tiny Stable Diffusion: the real classes, a word-level CLIP vocabulary, and a VAE that has learned to see Shapes.

The U-Net starts from random weights. The VAE does not: it is fitted here for some seconds on pictures of the Shapes
world, since through a random VAE no sample would ever look like a picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aa_lightning.data.shapes import Shapes
from aa_lightning.data.shapes.scenes import COLOURS, SHAPES
from aa_lightning.models.tiny.words import corpus

_WORD_END = "</w>"
_START, _END = "<|startoftext|>", "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class StableDiffusionSizes:
    """Sizes that learn Shapes on a laptop. Latents are `image_size` / 4 wide and high."""

    image_size: int = 32
    text_length: int = 32  # tokens that the text encoder reads
    text_width: int = 64
    text_layers: int = 1
    vae_channels: tuple[int, ...] = (8, 16, 16)
    vae_steps: int = 700  # of the fit; about 25 ms each on one core
    unet_channels: tuple[int, ...] = (32, 48)
    prediction_type: str = "v_prediction"


def build(folder: Path, seed: int = 0, sizes: StableDiffusionSizes | None = None) -> None:
    """Build the pipeline offline and save it; the same seed and sizes give the same weights.

    Args:
        folder: what `StableDiffusionPipeline.from_pretrained` loads afterwards.
        seed: of weights, and of the VAE's fit.
        sizes: None: those that learn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in stable_diffusion(sizes or StableDiffusionSizes()):
            part.save_pretrained(folder)


def stable_diffusion(sizes: StableDiffusionSizes) -> Sequence[Any]:
    """The pipeline, as a list of one part."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    tokenizer = clip_tokenizer(sizes.text_length)
    vae = _vae(sizes)
    # crowded pictures teach more per pixel than sparse ones; sparse ones teach what an empty background looks like
    fit(vae, pictures("train", 1024, sizes.image_size, max_shapes=9), sizes.vae_steps)
    scale(vae, pictures("train", 256, sizes.image_size, max_shapes=2))
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=_text_encoder(sizes, tokenizer),
        tokenizer=tokenizer,
        unet=_unet(sizes),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            prediction_type=sizes.prediction_type,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return [pipeline]


# ---------------------------------------------------------------- text


def clip_tokenizer(length: int) -> Any:
    """The real CLIP tokenizer class; words of the Shapes world are one token each, others are spelled in bytes.

    Merges are written down and not trained: the trainer orders word-final CLIP symbols differently from run to run.
    """
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    alphabet = sorted(ByteLevel.alphabet())
    merges = _merges({word for line in corpus() for word in line.lower().split() if word.isalpha()})
    symbols = [*alphabet, *(s + _WORD_END for s in alphabet), *(a + b for a, b in merges), _START, _END]
    vocabulary = {symbol: number for number, symbol in enumerate(dict.fromkeys(symbols))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def _merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges after which every word is one symbol.

    Each word is merged as far as earlier words allow, and the rest from the left. Later merges have lower priority, so
    a word that was one symbol once stays one.
    """
    ranks: dict[tuple[str, str], int] = {}
    for word in sorted(words):
        symbols = [*word[:-1], word[-1] + _WORD_END]
        while len(symbols) > 1:
            pairs = list(pairwise(symbols))
            pair = min((p for p in pairs if p in ranks), key=ranks.__getitem__, default=pairs[0])
            ranks.setdefault(pair, len(ranks))
            at = pairs.index(pair)
            symbols[at : at + 2] = ["".join(pair)]
    return list(ranks)


def _text_encoder(sizes: StableDiffusionSizes, tokenizer: Any) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=sizes.text_width,
        intermediate_size=2 * sizes.text_width,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=4,
        max_position_embeddings=sizes.text_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=sizes.text_width,
    )
    encoder = CLIPTextModel(config).eval()
    # random and frozen: a word must still be told from the other words, wherever it stands
    nn.init.normal_(encoder.get_input_embeddings().weight, std=1.0)
    return encoder


# ---------------------------------------------------------------- pictures


def _unet(sizes: StableDiffusionSizes) -> nn.Module:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=sizes.image_size // 4,
        in_channels=4,
        out_channels=4,
        block_out_channels=sizes.unet_channels,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=sizes.text_width,
        attention_head_dim=4,
        norm_num_groups=8,
    ).eval()


def _vae(sizes: StableDiffusionSizes) -> nn.Module:
    from diffusers import AutoencoderKL

    depth = len(sizes.vae_channels)
    return AutoencoderKL(
        block_out_channels=sizes.vae_channels,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
        sample_size=sizes.image_size,
        mid_block_add_attention=False,
    )


def pictures(split: str, count: int, image_size: int, max_shapes: int = 4) -> Tensor:
    """Pictures of Shapes in every shape and colour, (count, 3, H, W) in [−1, 1]."""
    rows = Shapes(
        modality="t2i",
        split=split,
        size=count,
        kinds=["colour"],
        image_size=image_size,
        max_shapes=max_shapes,
        shapes=list(SHAPES),
        colours=list(COLOURS),
    )
    drawn = np.stack([np.asarray(rows[i]["chosen"](), dtype=np.float32) for i in range(count)])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2) / 127.5 - 1


def fit(vae: nn.Module, seen: Tensor, steps: int, lr: float = 6e-3) -> None:
    """Teach a VAE to reconstruct images (N, 3, H, W)."""
    optimizer = torch.optim.AdamW(vae.parameters(), lr=lr, weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 20, 2 * (1 - step / steps))
        batch = seen[torch.randint(len(seen), (4,))]
        latents = vae.encode(batch).latent_dist.mode()
        # noise on the latents: what the U-Net draws is never exact, and the decoder must forgive it
        decoded = vae.decode(latents + 0.05 * torch.randn_like(latents)).sample
        loss = (decoded - batch).square().mean() + 1e-3 * latents.square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
    vae.eval()


@torch.no_grad()
def scale(vae: nn.Module, seen: Tensor) -> None:
    """Set the scaling factor so that latents of these images (N, 3, H, W) have standard deviation 1, as the noise has.

    A picture with few figures has small latents: scaled by crowded pictures, its figures would drown in the noise.
    """
    vae.register_to_config(scaling_factor=1 / vae.encode(seen).latent_dist.mode().std().item())
