"""Steps from the second epoch on, where what frozen towers and encoders give is kept, and where they read each time."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate

from aa_lightning.assembly.policy import build_policy
from aa_lightning.configuration.compose import compose
from aa_lightning.models.tiny.stable_diffusion import clip_tokenizer
from aa_lightning.models.token.towers import release_towers
from aa_lightning.types import Preference, text
from benchmarks import contenders, machine, subject

PAIRS, QUESTION, ANSWER = 2, 16, 80
_NARROWER, _SIDE = 4, 256  # than Stable Diffusion 1.5; pixels


def llava(keep: str) -> contenders.Step:
    """A DPO step of the 45 M LLaVA with a frozen tower, which without keeping reads whole batches."""
    policy = subject.make_policy("model.freeze=[vision]", f"model.keep_features={keep}")
    if keep == "false":
        for network in (policy.network, policy.reference.network):
            release_towers(network)
    return contenders.ours(policy, subject.make_pairs(PAIRS, QUESTION, ANSWER), "cpu")


def stable_diffusion(keep: str, algo: str = "dpo", rank: int = 0) -> contenders.Step:
    """A step of a pipeline with the layers of Stable Diffusion 1.5, one draw, encoders included."""
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        _pipeline().save_pretrained(folder)
        options = [f"model.path={folder}", f"model.image_size={_SIDE}", f"model.keep_features={keep}"]
        options += [f"model.lora.rank={rank}"]
        cfg = compose([f"algo={algo}", "modality=t2i", "model=stable_diffusion_v1_5", "init=null", *options])
        algorithm = instantiate(cfg.algo, _convert_="all")
        policy = build_policy(cfg, algorithm, None).train()
    pairs, encoder = _drawn(PAIRS), policy.encoder
    learned = [pair.responses if algo == "dpo" else [pair.chosen] for pair in pairs]
    batch = encoder.collate([encoder.encode(pair, said) for pair, said in zip(pairs, learned, strict=True)])
    trained = [weight for weight in policy.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=contenders.LR, fused=True)

    def step() -> torch.Tensor:
        loss, _ = algorithm(policy, policy.prepare(batch))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def _pipeline() -> Any:
    """Stable Diffusion 1.5 with all widths divided; its text encoder is as deep."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer, width = clip_tokenizer(77), 768 // _NARROWER
    said = {"vocab_size": len(tokenizer), "hidden_size": width, "intermediate_size": 4 * width}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    down, up = ("CrossAttnDownBlock2D",) * 3, ("CrossAttnUpBlock2D",) * 3
    unet = UNet2DConditionModel(
        sample_size=_SIDE // 8,
        block_out_channels=[channels // _NARROWER for channels in (320, 640, 1280, 1280)],
        down_block_types=(*down, "DownBlock2D"),
        up_block_types=("UpBlock2D", *up),
        cross_attention_dim=width,
        attention_head_dim=8 // _NARROWER,  # which is the number of heads; they are as wide
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=[channels // _NARROWER for channels in (128, 256, 512, 512)],
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=_SIDE,
    )
    text_encoder = CLIPTextModel(CLIPTextConfig(**said, **ends, num_hidden_layers=12, num_attention_heads=12))
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _drawn(count: int) -> list[Preference]:
    """Captions, each with two pictures of noise."""
    noise = subject.make_pairs(2 * count, 1, 1)
    pictures = [[pair.messages[0]["content"][0]] for pair in noise]
    draw = torch.Generator().manual_seed(0)
    return [
        Preference(
            id=str(number),
            messages=[{"role": "user", "content": [text(subject.words(8, draw))]}],
            chosen=pictures[2 * number],
            rejected=pictures[2 * number + 1],
        )
        for number in range(count)
    ]


SUBJECTS: dict[str, Callable[[str], contenders.Step]] = {
    "LLaVA, DPO": llava,
    "Stable Diffusion, DPO": stable_diffusion,
    "Stable Diffusion, DPO of an adapter": partial(stable_diffusion, rank=8),
    "Stable Diffusion, SFT": partial(stable_diffusion, algo="sft"),
}
GOALS = dict(zip(SUBJECTS, (1.05, 1.3, 1.3, 1.3), strict=True))


def table(times: dict[str, list[list[float]]]) -> str:
    rows = [
        f"| {name} | {statistics.median(fresh):.3f} | {statistics.median(kept):.3f} | "
        f"{machine.median_ratio(fresh, kept):.2f}× | {GOALS[name]}× |"
        for name, (fresh, kept) in times.items()
    ]
    head = ["| | read each time, s | kept, s | faster | goal |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def main(argv: list[str] | None = None) -> None:
    options = machine.arguments(__doc__).parse_args(argv)
    torch.set_num_threads(options.threads)
    times = {}
    for name, make in SUBJECTS.items():
        times[name] = machine.alternated([make("false"), make("auto")], options.repeats, "cpu")
    heading = [
        "# Features that are kept\n",
        f"A step on {PAIRS} rows; the first one does not count. LLaVA: that of `dpo_step`, with a frozen tower. "
        f"Stable Diffusion: the layers of 1.5 at a quarter of their widths, {_SIDE} pixels, one draw. Float32, medians of "
        f"the ratios of {options.repeats} alternated rounds.\n",
        machine.described("cpu"),
    ]
    machine.write("features", "cpu", "\n".join([*heading, table(times)]))


if __name__ == "__main__":
    main()
