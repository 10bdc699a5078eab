"""A DPO step on pairs as long as real ones, against TRL: what padding costs, and what a kept reference saves."""

from __future__ import annotations

import statistics

import torch

from benchmarks import dpo_step, layouts, machine, subject

PAIRS, QUESTION, MEDIAN, SIGMA = 8, 16, 90, 0.7
GOALS = {"ours": 2.5, "kept": 3.2}
MODELS = {"The LLaVA of the table of layouts": layouts.SIZES, "The LLaVA of dpo_step": {}}


def main(argv: list[str] | None = None) -> None:
    parser = machine.arguments(__doc__)
    parser.set_defaults(repeats=3)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    lengths = subject.real_lengths(PAIRS, MEDIAN, SIGMA)
    pairs = subject.make_pairs(PAIRS, QUESTION, 0, lengths=lengths)
    content = [
        "# One DPO step on pairs of real lengths\n",
        f"{PAIRS} pairs, 256 picture tokens, questions of {QUESTION} words, answers log-normal with median {MEDIAN} and σ "
        f"{SIGMA}: {', '.join(f'{a} and {b}' for a, b in lengths)} words.\n",
        machine.described(options.device),
    ]
    for title, sizes in MODELS.items():
        losses, times = dpo_step.compare(pairs, options.device, options.repeats, sizes)
        content += [f"\n## {title}\n", *table(losses, times)]
    note = (
        "¹ `model.reference=kept`: read before the first step, or by an earlier run; one network is loaded and not two."
    )
    machine.write("real_lengths", options.device, "\n".join([*content, note, ""]))


def table(losses: list[float], times: list[list[float]]) -> list[str]:
    """Lines of Markdown."""
    rows = [
        f"| {name} | {statistics.median(t):.2f} | {PAIRS / statistics.median(t):.3f} |"
        for name, t in zip(dpo_step.NAMES.values(), times, strict=True)
    ]
    told = f"{dpo_step.ratios(times, GOALS)}; the losses are {', '.join(f'{loss:.7f}' for loss in losses)}."
    return ["| | seconds per step | pairs per second |", "|---|---|---|", *rows, "", told, ""]


if __name__ == "__main__":
    main()
