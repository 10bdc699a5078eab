"""Stable Diffusion as a policy: p(picture | caption), bounded by the denoising error at shared draws."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from torch import Tensor, nn
from transformers import CLIPTokenizer

from aa_lightning.models.diffusion.denoiser import Denoiser, step_logprob
from aa_lightning.models.diffusion.encoder import PixelEncoder
from aa_lightning.models.diffusion.lora import UNetAdapters, adapter_base, merge_saved, train_alone
from aa_lightning.models.diffusion.options import Diffusion
from aa_lightning.models.lora import BESIDE
from aa_lightning.models.reference import Reference, choose_form, evaluating, frozen
from aa_lightning.models.state_dict import below, folder_of, of_checkpoint, reading, take
from aa_lightning.models.token.features import Features, Inputs, features_store
from aa_lightning.models.token.row_draws import RowDraws, seeds_of
from aa_lightning.models.whole import check_finite, check_folder, check_tokenizer, check_unet
from aa_lightning.types import SAMPLING, Batch, LogLikelihood, Rollout, Sampling, Statistic


class DiffusionPolicy(nn.Module):
    """A Stable Diffusion pipeline whose U-Net (or its LoRA adapter) trains; text encoder and VAE stay as they are.

    Args:
        pipeline: the parts, as diffusers loads them.
        network: the U-Net with its schedule.
        encoder: captions and pictures to tensors.
        options: numbers of draws, caption dropout, how pictures are sampled.
        reference: what the policy is compared with.
        adapters: the LoRA adapter, where there is one.
    """

    likelihood = "elbo"

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        network: Denoiser,
        encoder: PixelEncoder,
        options: Diffusion,
        reference: Reference,
        adapters: UNetAdapters | None = None,
    ):
        super().__init__()
        self.pipeline, self.options = pipeline, options
        self.network, self.encoder = network, encoder
        self.reference, self.adapters = reference, adapters
        store = features_store(options.keep_features)
        self._seen = Features(frozen(pipeline.vae), store)
        self._said = Features(frozen(pipeline.text_encoder), store)

    @property
    def vae(self) -> nn.Module:
        """Pictures to latents and back. No submodule, nor is the text encoder: what is registered here trains, is
        sharded, and stands in every checkpoint."""
        return self.pipeline.vae

    @property
    def text_encoder(self) -> nn.Module:
        """Captions to states."""
        return self.pipeline.text_encoder

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DiffusionPolicy:
        """Frozen parts go along to a device."""
        super()._apply(fn, recurse)
        self.vae._apply(fn)
        self.text_encoder._apply(fn)
        return self

    # ------------------------------------------------------------ likelihood

    @torch.no_grad()
    def prepare(self, batch: Batch) -> Batch:
        """Run the frozen encoders and draw timesteps and noise, shared by the K pictures of a prompt.

        In evaluation mode the draws depend on the row's id and `eval_seed` alone, so that held-out numbers are
        comparable before and after training and do not depend on the batch size.

        Returns:
            The batch with draws: latents (P, K, C, h, w), timesteps (P, T), noise (P, T, C, h, w), context (P, L, D). One
            that was drawn by the policy has its chain, and is returned as it is.
        """
        if "chain" in batch.draws:
            return batch
        latents = self._latents(batch.response["pixels"])
        timesteps, noise = self._draw(batch.ids, latents)
        context = self._context(self._drop_captions(batch.prompt["input_ids"]))
        draws = {"latents": latents, "timesteps": timesteps, "noise": noise, "context": context}
        return replace(batch, draws=draws)

    def log_likelihood(
        self, batch: Batch, tokens: Tensor | None = None, statistic: Statistic | None = None, measure: bool = False
    ) -> LogLikelihood:
        """Minus the denoising error at each of the T prepared draws, (P, K, T); `total` is their mean.

        Args:
            tokens, statistic: of token models; None. measure: of them too; errors have no measures.
        """
        return self.network(batch, tokens, statistic)

    def as_reference(self) -> AbstractContextManager:
        """The reference, while the context lasts."""
        return self.reference.active(self.network)

    def reference_modules(self) -> list[nn.Module]:
        """Networks outside of this module that a strategy places or shards by itself."""
        return self.reference.modules()

    def _latents(self, pixels: Tensor) -> Tensor:
        """The mean of the VAE's posterior, scaled: no noise of its own, and the same whenever a picture is seen."""
        latents = self._seen.of([{"pixels": one[None]} for one in pixels.flatten(0, 1)], self._encode)
        return torch.cat([one["latents"] for one in latents]).unflatten(0, pixels.shape[:2])

    def _encode(self, given: Inputs) -> dict[str, Tensor]:
        encoded = self.vae.encode(given["pixels"].to(self.vae.dtype)).latent_dist.mode()
        return {"latents": encoded.float() * self.vae.config.scaling_factor}

    def _context(self, input_ids: Tensor) -> Tensor:
        states = self._said.of([{"input_ids": one[None]} for one in input_ids], self._read)
        return torch.cat([one["states"] for one in states])

    def _read(self, given: Inputs) -> dict[str, Tensor]:
        return {"states": self.text_encoder(given["input_ids"]).last_hidden_state}

    def _drop_captions(self, input_ids: Tensor) -> Tensor:
        """While training, a share of captions becomes empty, so that guidance has something to compare with."""
        if not self.training or self.options.caption_dropout == 0:
            return input_ids
        dropped = torch.rand(len(input_ids), 1, device=input_ids.device) < self.options.caption_dropout
        return torch.where(dropped, self._blank_ids(), input_ids)

    def _blank_ids(self) -> Tensor:
        return self.encoder.tokens([""])["input_ids"].to(self.network.alphas_cumprod.device)

    def _draw(self, ids: list[str], latents: Tensor) -> tuple[Tensor, Tensor]:
        """Stratified: draw i of T falls into the i-th of T equal spans of the schedule, so that few draws cover it."""
        shape, length = latents.shape[2:], self.network.scheduler.config.num_train_timesteps
        count = self.options.timesteps_per_example if self.training else self.options.eval_timesteps_per_example
        if self.training:
            where = torch.rand(len(ids), count, device=latents.device)
            noise = torch.randn(len(ids), count, *shape, device=latents.device)
        else:
            seeds = [crc32(f"{self.options.eval_seed}/{row}".encode()) for row in ids]
            makers = [torch.Generator().manual_seed(seed) for seed in seeds]
            where = torch.stack([torch.rand(count, generator=g) for g in makers]).to(latents.device)
            noise = torch.stack([torch.randn(count, *shape, generator=g) for g in makers]).to(latents.device)
        spans = torch.arange(count, device=latents.device)
        timesteps = ((spans + where) / count * length).long().clamp(max=length - 1)
        return timesteps, noise

    # ------------------------------------------------------------ sampling

    @torch.no_grad()
    def sample(self, batch: Batch, n: int, sampling: Sampling = SAMPLING) -> Rollout:
        """Draw n pictures for each prompt, with steps, eta and guidance of the options.

        Args:
            batch: prompts; pictures in it are not looked at.
            n: pictures per prompt.
            sampling: its seeds; there are no tokens.

        Returns:
            A rollout with one action per noisy denoising step: what is deterministic behind them is not kept. Its
            log-probabilities are means over the latent elements; steps without randomness (eta 0, or an end without noise)
            have mask 0.
        """
        with evaluating(self):
            drawn = replace(batch, draws=self._chain_inputs(batch, n), supervision={})
            draws = RowDraws(seeds_of(sampling.seeds, len(batch)), n, self.network.alphas_cumprod.device)
            start = draws.normal(*self._latent_shape())
            noisy = self.options.sampling.noisy_steps or self.options.sampling.steps
            latents, logprobs, mask = [start], [], []
            for action in range(noisy):
                mean, std = self.network.step_of(drawn, latents[-1], action)
                latents.append(mean + std * draws.normal(*mean.shape[1:]))
                logprobs.append(step_logprob(latents[-1], mean, std))
                mask.append((std > 0).float().flatten())
            pictures = self._pictures(self._ended(drawn, latents[-1], noisy).unflatten(0, (len(batch), n)))
        drawn.draws["chain"] = torch.stack(latents, 1).unflatten(0, (len(batch), n))
        pixels = [torch.stack([self.encoder.pixels(picture) for picture in row]) for row in pictures]
        drawn.response = {"pixels": torch.stack(pixels).to(start.device)}
        return Rollout(
            batch=drawn,
            responses=[[[{"type": "image", "image": picture}] for picture in row] for row in pictures],
            logprobs=torch.stack(logprobs, 1).unflatten(0, (len(batch), n)),
            mask=torch.stack(mask, 1).unflatten(0, (len(batch), n)),
            ended=torch.ones(len(batch), n, dtype=torch.bool, device=start.device),  # a picture is never cut
        )

    def action_logprobs(self, rollout: Rollout) -> Tensor:
        """(P, K, A): log-probabilities of the drawn denoising steps under the current weights."""
        return self.network.action_logprobs(rollout)

    def _ended(self, drawn: Batch, latents: Tensor, action: int) -> Tensor:
        """(P·K, C, h, w) where chains end from some action on without noise."""
        certain = replace(drawn, draws={**drawn.draws, "eta": torch.zeros_like(drawn.draws["eta"])})
        for later in range(action, self.options.sampling.steps):
            latents, _ = self.network.step_of(certain, latents, later)
        return latents

    def _chain_inputs(self, batch: Batch, n: int) -> dict[str, Tensor]:
        """Collect what a chain depends on besides the weights, every entry with the leading axis P; `repeats` is n."""
        p, device, sampling = len(batch), self.network.alphas_cumprod.device, self.options.sampling
        return {
            "context": self._context(batch.prompt["input_ids"]),
            "blank": self._context(self._blank_ids()).expand(p, -1, -1),
            "steps": self.network.steps(sampling.steps).expand(p, -1),
            "eta": torch.full((p,), sampling.eta, device=device),
            "guidance": torch.full((p,), sampling.guidance, device=device),
            "repeats": torch.full((p,), n, device=device),
        }

    def _latent_shape(self) -> tuple[int, int, int]:
        side = self.encoder.image_size // self.pipeline.vae_scale_factor
        return self.vae.config.latent_channels, side, side

    def _pictures(self, latents: Tensor) -> list[list]:
        """PIL pictures of latents (P, K, C, h, w), a prompt at a time: decoding is what takes the memory."""
        scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        return [[self.encoder.picture(pixels) for pixels in self.vae.decode(row).sample] for row in scaled]

    # ------------------------------------------------------------ export

    def save(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write what diffusers loads by itself, as safetensors.

        Without an adapter this is the whole pipeline. With one it is the adapter alone, for `pipe.load_lora_weights`;
        where its base stands nowhere, the pipeline with the adapter merged, and the adapter in a folder beside it.

        Args:
            weights: gathered weights by this policy's names, where a strategy sharded them; None: its own.
        """
        own = below("network.unet.", weights)
        if self.adapters is None:
            self._save_pipeline(folder, own)
        elif self.adapters.base is not None:
            self.adapters.save(folder, own)
        else:
            self._save_pipeline(folder, self.adapters.merged(own))
            self.adapters.save(folder / BESIDE, own)

    def _save_pipeline(self, folder: Path, weights: dict[str, Tensor] | None) -> None:
        """The whole pipeline, with these weights in its U-Net; None: its own."""
        if weights is None:
            self.pipeline.save_pretrained(folder)
            return
        unet = type(self.network.unet).from_config(self.network.unet.config)
        unet.load_state_dict(weights, assign=True)
        parts = {**self.pipeline.components, "unet": unet}
        StableDiffusionPipeline(**parts, requires_safety_checker=False).save_pretrained(folder)

    def restore(self, folder: Path) -> None:
        """Take the weights that `save` wrote; the reference stays where it is."""
        if self.adapters is not None:
            self.adapters.load(folder / BESIDE if (folder / BESIDE).is_dir() else folder)
        else:
            unet = self.network.unet
            check_folder(str(folder))
            with reading(str(folder)):
                saved = type(unet).from_pretrained(folder / "unet", torch_dtype=unet.dtype)
            check_unet(saved, str(folder))
            unet.load_state_dict(saved.state_dict())


def load_diffusion(options: Diffusion, reference: bool, checkpoint: Path | None = None) -> DiffusionPolicy:
    """A Stable Diffusion policy from a folder, a hub id or a tiny offline build, with its reference.

    Args:
        options: the `model` section of the configuration.
        reference: whether the algorithm compares with a reference.
        checkpoint: of a run, whose weights policy and reference start from.
    """
    diffusers_logging.disable_progress_bar()
    folder = folder_of(options.path, options.tiny)
    pipeline = _pipeline(folder, options)
    if checkpoint is not None:
        take(pipeline.unet, below("network.unet.", of_checkpoint(checkpoint, options.family)), checkpoint)
    # latents are not bounded as pixels are, so nothing may be clipped on the way
    schedule = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False, thresholding=False)
    form = choose_form(options.reference, options.lora.rank, reference)
    copied = frozen(Denoiser(copy.deepcopy(pipeline.unet), schedule)) if form == "frozen" else None
    if options.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
    train_alone(pipeline.unet, options.trains)
    base = folder if checkpoint is None and adapter_base(Path(folder)) is None else None
    adapters = UNetAdapters(pipeline.unet, options.lora, base) if options.lora.rank > 0 else None
    encoder = _encoder(pipeline.tokenizer, options)
    network = Denoiser(pipeline.unet, schedule, options.sampling.blank_learns)
    return DiffusionPolicy(pipeline, network, encoder, options, Reference(form, copied, adapters), adapters)


def load_pixel_encoder(options: Diffusion) -> PixelEncoder:
    """The encoder alone, without weights."""
    folder = folder_of(options.path, options.tiny)
    check_folder(folder)
    while (base := adapter_base(Path(folder))) is not None:
        folder = base
    with reading(folder):
        tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", revision=options.revision)
    return _encoder(tokenizer, options)


def _encoder(tokenizer: Any, options: Diffusion) -> PixelEncoder:
    return PixelEncoder(tokenizer, options.image_size, cut_captions=options.long_captions == "cut")


def _pipeline(folder: str, options: Diffusion) -> StableDiffusionPipeline:
    """A saved pipeline, or a saved adapter added to the pipeline that it was trained on."""
    base = adapter_base(Path(folder))
    if base is not None:
        pipeline = _pipeline(base, options)
        merge_saved(pipeline, folder)
        return pipeline
    check_folder(folder)
    with reading(folder):
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder,
            revision=options.revision,
            dtype=getattr(torch, options.dtype),
            safety_checker=None,
            requires_safety_checker=False,
        )
    check_unet(pipeline.unet, folder)
    for part in (pipeline.text_encoder, pipeline.vae):
        check_finite(part, folder)
    check_tokenizer(pipeline.text_encoder.config, pipeline.tokenizer, folder)
    return pipeline
