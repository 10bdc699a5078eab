"""Plain against shared rows over (prompt, response, K): where sharing pays, and whether the cost rule knows it."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from aa_lightning.models.token import layouts
from aa_lightning.models.token.policy import AutoregressivePolicy
from aa_lightning.types import Batch, Prompt, text
from benchmarks import machine, subject

SIZES = {"width": 256, "layers": 4, "heads": 4, "kv_heads": 4, "mlp": 688, "vision_width": 128, "vision_layers": 2}
PROMPTS, RESPONSES, RIVALS = (32, 128, 512), (32, 128, 512), (2, 4, 8)
_LONGEST = 2048  # tokens of all responses to a prompt
_TIE = 0.05  # cells whose layouts differ by less are no mistake of the rule


@dataclass
class Cell:
    """One point of the grid and the seconds of both layouts (forward and backward)."""

    media: bool
    prompt: int
    response: int
    k: int
    plain: float
    shared: float

    @property
    def gain(self) -> float:
        return self.plain / self.shared

    def rule(self) -> bool:
        return layouts.prefers_shared(self.prompt, self.response, self.k, SIZES["width"], self.media)

    def loss(self) -> float:
        """The share of time that the rule's choice takes above the faster layout."""
        chosen = self.shared if self.rule() else self.plain
        return chosen / min(self.plain, self.shared) - 1


def measure(policy: AutoregressivePolicy, batch: Batch, media: bool, repeats: int, device: str) -> Cell:
    """Both layouts of one batch, alternated."""

    def run(layout: str):
        policy.network.prefix_sharing = layout
        policy.log_likelihood(batch).total.sum().backward()
        policy.zero_grad()

    contenders = [lambda: run("never"), lambda: run("always")]
    plain, shared = (min(times) for times in machine.alternated(contenders, repeats, device))
    _, k, response = batch.response["mask"].shape
    return Cell(media, batch.prompt["input_ids"].shape[1], response, k, plain, shared)


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
    rows = []
    for c in cells:
        choice, times = "shared" if c.rule() else "plain", f"{c.plain:.3f} | {c.shared:.3f} | {c.gain:.2f}"
        verdict = "" if c.loss() <= _TIE else f"{100 * c.loss():.0f} % slower than the other"
        kind = "picture" if c.media else "text"
        rows.append(f"| {kind} | {c.prompt} | {c.response} | {c.k} | {times} | {choice} | {verdict} |")
    right = sum(c.loss() <= _TIE for c in cells)
    lost = [c.loss() for c in cells]
    return "\n".join(
        [
            "| prompt | tokens | response | K | plain, s | shared, s | plain / shared | rule | |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            f"The rule picks the faster layout (or one within {100 * _TIE:.0f} %) in {right} of {len(cells)} cells; "
            f"it loses {100 * statistics.mean(lost):.1f} % of the time on average, {100 * max(lost):.0f} % at most. "
            f"Sharing gains up to {max(c.gain for c in cells):.2f}×.",
            "",
        ]
    )


def main(argv: list[str] | None = None) -> None:
    options = machine.arguments(__doc__).parse_args(argv)
    torch.set_num_threads(options.threads)
    cells = grid(options.device, options.repeats)
    heading = [
        "# Plain and shared rows\n",
        f"LLaVA with random weights, width {SIZES['width']}, {SIZES['layers']} layers; one prompt, K answers; forward "
        f"and backward, float32, best of {options.repeats} alternated rounds.\n",
        machine.described(options.device),
    ]
    machine.write("layouts", options.device, "\n".join([*heading, table(cells)]))


if __name__ == "__main__":
    main()
