"""The same rows for TRL and for us, and TRL's own trainers around a model.

TRL renders a whole conversation and takes what follows the prompt as the answer, so it also trains what a template
writes after the end of the turn (a line break in ChatML). We train up to the token that ends the turn and no further.
To compare the rest, both sides get a template that writes nothing after the last answer.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from hydra.utils import instantiate
from PIL import Image
from torch import Tensor, nn

from aa_lightning.assembly.policy import build_policy
from aa_lightning.models.token.encoder import TokenEncoder
from aa_lightning.types import Batch, Preference, text
from tests.contract.support import change, config

FAMILIES = ["tiny_llava", "tiny_qwen2_5_vl"]
ROWS = [  # pictures (width, height), question, chosen, rejected
    ([(28, 28)], "what colour is the square?", "the square is red", "blue"),
    (
        [(56, 28), (28, 42)],
        "how many shapes are there in both pictures?",
        "three",
        "there are no shapes at all in them",
    ),
    ([(42, 42)], "describe the picture", "a small green circle above a big white star", "a star"),
]
_LINE_BREAK = "{{- '\\n' -}}\n{%- endfor -%}"
_ONLY_BETWEEN_TURNS = (
    "{%- if not (loop.last and message['role'] == 'assistant') -%}{{- '\\n' -}}{%- endif -%}\n{%- endfor -%}"
)


def make(model: str, algo: str, layout: str, **options: Any):
    """Algorithm and policy (or reward model), the policy a little away from its reference."""
    torch.manual_seed(0)
    cfg = config(model, algo)
    change(cfg, f"model.prefix_sharing={layout}", *[f"algo.{key}={value}" for key, value in options.items()])
    algorithm = instantiate(cfg.algo, _convert_="all")
    policy = build_policy(cfg, algorithm, None)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    policy.encoder = TokenEncoder(without_tail(policy.encoder.processor), policy.encoder.family)
    return algorithm, policy.train()


def without_tail(processor: Any) -> Any:
    """The processor with a template that ends a conversation at the end of its last answer."""
    assert _LINE_BREAK in processor.chat_template
    processor.chat_template = processor.chat_template.replace(_LINE_BREAK, _ONLY_BETWEEN_TURNS)
    return processor


def pictures(sizes: list[tuple[int, int]], seed: int) -> list[Image.Image]:
    draw = torch.Generator().manual_seed(seed)
    arrays = [torch.randint(0, 256, (high, wide, 3), generator=draw, dtype=torch.uint8) for wide, high in sizes]
    return [Image.fromarray(array.numpy()) for array in arrays]


def examples() -> list[Preference]:
    """The rows as ours."""
    made = []
    for number, (sizes, question, chosen, rejected) in enumerate(ROWS):
        parts = [{"type": "image", "image": picture} for picture in pictures(sizes, number)]
        messages = [{"role": "user", "content": [*parts, text(question)]}]
        made.append(Preference(id=str(number), messages=messages, chosen=[text(chosen)], rejected=[text(rejected)]))
    return made


def trl_rows(**answers: int) -> list[dict]:
    """The rows as TRL's documentation writes them; `answers` maps TRL's column to the row's."""
    made = []
    for number, row in enumerate(ROWS):
        made.append({"images": pictures(row[0], number), "prompt": [{"role": "user", "content": row[1]}]})
        for column, place in answers.items():
            made[-1][column] = [{"role": "assistant", "content": row[place]}]
    return made


def batch_of(encoder: TokenEncoder, answers: slice) -> Batch:
    """Our batch of the rows, with the given ones of (chosen, rejected)."""
    encoded = [encoder.encode(example, example.responses[answers]) for example in examples()]
    return encoder.collate(encoded)


def trl_trainer(kind: type, settings: type, policy: Any, rows: list[dict], folder: Path, reference: bool, **options):
    """A TRL trainer around a copy of the policy's model; its collator reads the same processor."""
    args = settings(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
        report_to="none",
        **options,
    )
    given = {"ref_model": copy.deepcopy(policy.reference.network.model)} if reference else {}
    return kind(
        model=copy.deepcopy(policy.network.model),
        args=args,
        train_dataset=Dataset.from_list([{"images": row["images"], "prompt": "", "completion": ""} for row in rows]),
        processing_class=policy.encoder.processor,
        **given,
    )


def supervised(ids: Tensor, mask: Tensor) -> list[list[int]]:
    """The trained tokens of each row."""
    return [row[kept.bool()].tolist() for row, kept in zip(ids, mask, strict=True)]


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Each parameter's gradient to 1e-4 of its norm; of 1e-3 of the whole norm where its own is next to nothing."""
    assert ours
    assert ours.keys() == theirs.keys()
    whole = torch.stack([g.norm() for g in theirs.values()]).norm()
    for name, expected in theirs.items():
        scale = max(expected.norm(), 1e-3 * whole)
        assert (ours[name] - expected).norm() <= 1e-4 * scale, name
