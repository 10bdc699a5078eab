"""What is measured: a LLaVA with random weights, and pairs of answers about random pictures."""

from __future__ import annotations

import torch
from hydra.utils import instantiate
from PIL import Image

from aa_lightning.assembly.policy import build_policy
from aa_lightning.configuration.compose import compose
from aa_lightning.models.tiny.words import VOCABULARY
from aa_lightning.models.token.policy import AutoregressivePolicy
from aa_lightning.types import Algorithm, Preference, text

# In LLaVA 1.5 7B the head is 2 % of the weights and the tower 4 %; here 2 % and 10 %. 256 patches are 256 tokens.
_TEXT = {"width": 512, "layers": 12, "heads": 8, "kv_heads": 8, "mlp": 1376, "init_std": 0.02}
_VISION = {"vision_width": 256, "vision_layers": 6, "vision_heads": 4, "vision_mlp": 1024}
SIZES = {**_TEXT, **_VISION, "image_size": 224, "patch_size": 14}
_AWAY = 2e-3  # how far each weight of the policy is from the reference's, so that the loss is not log 2


def make_policy(
    *overrides: str, sizes: dict[str, float] | None = None, algorithm: Algorithm | None = None
) -> AutoregressivePolicy:
    """A LLaVA policy, with a frozen reference where the algorithm (DPO) uses one, from the configuration of `train`."""
    tiny = ",".join(f"{key}:{value}" for key, value in {**SIZES, **(sizes or {})}.items())
    cfg = compose(["algo=dpo", "modality=ti2t", "init=null", f"+model.tiny={{{tiny}}}", *overrides])
    policy = build_policy(cfg, algorithm or dpo(), None)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(_AWAY * torch.randn_like(weight))
    return policy.train()


_SPEAKER = {"width": 384, "layers": 8, "heads": 8, "kv_heads": 4, "mlp": 1024, "init_std": 0.02, "vision_layers": 8}


def make_speaker(vocabulary: int = 32_000) -> AutoregressivePolicy:
    """A LLaVA of 44 M random weights without a reference, of a vocabulary so large that few answers end."""
    policy = make_policy(sizes=_SPEAKER, algorithm=grpo())
    model = policy.network.model
    torch.manual_seed(2)
    model.resize_token_embeddings(vocabulary, mean_resizing=False)
    return policy


def dpo():
    """DPO with β = 0.1 and nothing else."""
    return instantiate(compose(["algo=dpo", "algo.nll=0"]).algo, _convert_="all")


def grpo():
    """GRPO without a divergence."""
    return instantiate(compose(["algo=grpo"]).algo, _convert_="all")


def make_pairs(
    count: int, question: int, answer: int, seed: int = 0, lengths: list[tuple[int, int]] | None = None
) -> list[Preference]:
    """Pairs about noise: questions of `question` words (about a token each), answers of `answer` words ± a fifth.

    Args:
        lengths: words of both answers of each pair instead.
    """
    draw = torch.Generator().manual_seed(seed)
    side = SIZES["image_size"]
    made = []
    for number in range(count):
        pixels = torch.randint(0, 256, (side, side, 3), generator=draw, dtype=torch.uint8)
        parts = [{"type": "image", "image": Image.fromarray(pixels.numpy())}, text(words(question, draw))]
        spread = torch.randint(-(answer // 5), answer // 5 + 1, (2,), generator=draw).tolist()
        sizes = [answer + more for more in spread] if lengths is None else lengths[number]
        chosen, rejected = ([text(words(size, draw))] for size in sizes)
        made.append(
            Preference(id=str(number), messages=[{"role": "user", "content": parts}], chosen=chosen, rejected=rejected)
        )
    return made


def real_lengths(count: int, median: float, sigma: float, seed: int = 0) -> list[tuple[int, int]]:
    """Words of both answers of pairs, from a log-normal law, as answers of people and models have it."""
    draw = torch.Generator().manual_seed(seed)
    drawn = (median * (sigma * torch.randn(count, 2, generator=draw)).exp()).round().long().clamp(min=1)
    return [(chosen, rejected) for chosen, rejected in drawn.tolist()]


def words(count: int, draw: torch.Generator) -> str:
    chosen = torch.randint(0, len(VOCABULARY), (count,), generator=draw).tolist()
    return " ".join(VOCABULARY[i] for i in chosen)
