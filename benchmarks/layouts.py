"""Plain against packed rows over (prompt, response, K): what reading a prompt once for all its responses gains."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from aa_lightning.models.token.policy import AutoregressivePolicy
from aa_lightning.types import Batch, Prompt, text
from benchmarks import machine, subject

SIZES = {"width": 256, "layers": 4, "heads": 4, "kv_heads": 4, "mlp": 688, "vision_width": 128, "vision_layers": 2}
PROMPTS, RESPONSES, RIVALS = (32, 128, 512), (32, 128, 512), (1, 2, 4, 8, 16)
_LONGEST = 2048  # tokens of all responses to a prompt


@dataclass
class Cell:
    """One point of the grid, the seconds of plain rows (forward and backward), and plain ÷ packed."""

    kind: str
    prompt: int
    response: int
    k: int
    plain: float
    gain: float


def measure(policy: AutoregressivePolicy, batch: Batch, media: bool, repeats: int, device: str) -> Cell:
    """Both layouts of one batch, alternated."""

    def run(layout: str):
        policy.network.prefix_sharing = layout
        policy.log_likelihood(batch).total.sum().backward()
        policy.zero_grad()

    plain, packed = machine.alternated([lambda: run("never"), lambda: run("auto")], repeats, device)
    _, k, response = batch.response["mask"].shape
    prompt = batch.prompt["input_ids"].shape[1]
    return Cell("picture" if media else "text", prompt, response, k, min(plain), machine.median_ratio(plain, packed))


def make_batch(policy: AutoregressivePolicy, prompt: int, response: int, k: int, media: bool) -> Batch:
    """One prompt of random words (with a picture: 256 tokens and a few words) and k random answers of equal length."""
    draw = torch.Generator().manual_seed(0)
    parts = subject.make_pairs(1, 8, 8)[0].messages[0]["content"] if media else [text(subject.words(prompt, draw))]
    encoded = policy.encoder.encode(Prompt(id="0", messages=[{"role": "user", "content": parts}]), [])
    ids = torch.randint(len(policy.encoder.tokenizer) // 2, (k, response), generator=draw)
    encoded.responses = list(ids)
    return policy.encoder.collate([encoded])


def grid(device: str, repeats: int) -> list[Cell]:
    policy = subject.make_policy(sizes=SIZES).to(device)
    cells = []
    for media, prompt in [*((False, prompt) for prompt in PROMPTS), (True, 0)]:
        for response, k in itertools.product(RESPONSES, RIVALS):
            if response * k <= _LONGEST:
                batch = make_batch(policy, prompt, response, k, media).to(device)
                cells.append(measure(policy, batch, media, repeats, device))
    return cells


def table(cells: Sequence[Cell]) -> str:
    rows = [f"| {c.kind} | {c.prompt} | {c.response} | {c.k} | {c.plain:.3f} | {c.gain:.2f} |" for c in cells]
    gains = [c.gain for c in cells]
    return "\n".join(
        [
            "| prompt | tokens | response | K | plain, s | plain / packed |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"Packed rows take {1 / max(gains):.2f} to {1 / min(gains):.2f} of the time of plain ones.",
            "",
        ]
    )


def main(argv: list[str] | None = None) -> None:
    options = machine.arguments(__doc__).parse_args(argv)
    torch.set_num_threads(options.threads)
    cells = grid(options.device, options.repeats)
    heading = [
        "# Plain and packed rows\n",
        f"LLaVA with random weights, width {SIZES['width']}, {SIZES['layers']} layers; one prompt, K answers; forward "
        f"and backward, float32, medians of the ratios of {options.repeats} alternated rounds.\n",
        machine.described(options.device),
    ]
    machine.write("layouts", options.device, "\n".join([*heading, table(cells)]))


if __name__ == "__main__":
    main()
