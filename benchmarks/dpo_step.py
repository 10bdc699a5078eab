"""One DPO step against TRL on the same LLaVA: equal loss, pairs per second, peak memory."""

from __future__ import annotations

import gc
import statistics

import torch

from aa_lightning.types import Preference
from benchmarks import contenders, machine, subject

PAIRS, QUESTION, ANSWER = 2, 16, 80
GOALS = {"ours": 1.95, "kept": 2.5}
_SIDES = {"ours": contenders.ours, "kept": contenders.kept, "trl": contenders.trl}
NAMES = {"ours": "aa_lightning", "kept": "aa_lightning, reference kept ¹", "trl": "TRL DPOTrainer"}


def compare(
    pairs: list[Preference], device: str, repeats: int, sizes: dict[str, float] | None = None
) -> tuple[list[float], list[list[float]]]:
    """The losses of all sides at the first step, and their durations.

    Args:
        sizes: of the model, other than the usual ones.

    Raises:
        SystemExit: the losses differ.
    """
    steps = [side(subject.make_policy(sizes=sizes), pairs, device) for side in _SIDES.values()]
    losses = [step().item() for step in steps]
    if max(losses) - min(losses) > 1e-5:
        raise SystemExit(f"the losses are {losses}: the contenders do not compute the same")
    return losses, machine.alternated(steps, repeats, device)


def measure_memory(side: str, device: str) -> float:
    """MiB that two steps of one contender take above its loaded models, in this process."""
    step = _SIDES[side](subject.make_policy(), subject.make_pairs(PAIRS, QUESTION, ANSWER), device)
    gc.collect()
    before = machine.memory_in_use(device)
    for _ in range(2):
        step()
    return (machine.peak_memory(device) - before) / 2**20


def ratios(times: list[list[float]], goals: dict[str, float]) -> str:
    """By how much each side is faster than the last one, in words."""
    found = {side: machine.median_ratio(times[-1], t) for side, t in zip(goals, times, strict=False)}
    told = [f"**{ratio:.2f}×** ({NAMES[side]}; the goal is {goals[side]}×)" for side, ratio in found.items()]
    return f"{' and '.join(told)} the pairs per second of TRL, medians of {len(times[0])} alternated rounds"


def table(losses: list[float], times: list[list[float]], peaks: list[float]) -> str:
    rows = [
        f"| {name} | {statistics.median(t):.3f} | {PAIRS / statistics.median(t):.3f} | {peak:.0f} |"
        for name, t, peak in zip(NAMES.values(), times, peaks, strict=True)
    ]
    return "\n".join(
        [
            "| | seconds per step | pairs per second | MiB above the loaded models |",
            "|---|---|---|---|",
            *rows,
            "",
            f"{ratios(times, GOALS)}; {peaks[0] / peaks[-1]:.2f}× the memory; "
            f"the losses are {', '.join(f'{loss:.7f}' for loss in losses)}.",
            "",
            "¹ `model.reference=kept`: read before the first step, or by an earlier run; one network is loaded and not two.",
            "",
        ]
    )


def main(argv: list[str] | None = None) -> None:
    parser = machine.arguments(__doc__)
    parser.add_argument("--memory", choices=_SIDES, help="only print this contender's memory")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    if options.memory:
        print(measure_memory(options.memory, options.device))
        return
    losses, times = compare(subject.make_pairs(PAIRS, QUESTION, ANSWER), options.device, options.repeats)
    peaks = [machine.memory_apart("benchmarks.dpo_step", side, "--device", options.device) for side in _SIDES]
    machine.write("dpo_step", options.device, "\n".join([*heading(options.device), table(losses, times, peaks)]))


def heading(device: str) -> list[str]:
    policy = subject.make_policy()
    weights = sum(p.numel() for p in policy.parameters()) / 1e6
    return [
        "# One DPO step\n",
        f"LLaVA with {weights:.0f} M random weights, {PAIRS} pairs, 256 picture tokens, questions of {QUESTION} words, "
        f"answers of {ANSWER} words ± a fifth. Forward, fresh reference pass, backward, AdamW; float32, all weights "
        "train, no dropout, no checkpointing, the data prepared beforehand.\n",
        machine.described(device),
    ]


if __name__ == "__main__":
    main()
