"""One GRPO step against TRL's GRPOTrainer on the same LLaVA: drawing, learning, the whole of it, peak memory."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import TrainerCallback

from aa_lightning.algos.experience import Experience
from aa_lightning.models.token.policy import AutoregressivePolicy
from aa_lightning.types import Preference, Rollout, Sampling
from benchmarks import machine, subject

RESPONSES, TOKENS, LR = 8, 64, 1e-6
GOALS = {"the whole step": " (the goal is 3.3×)", "learning": " (5×)", "drawing": ""}
NAMES = {"ours": "aa_lightning", "trl": "TRL GRPOTrainer"}
REWARDS = [float(number) for number in range(RESPONSES)]  # whatever they say, so that both learn from the same


@dataclass
class Taken:
    """Processor seconds of steps."""

    drawing: list[float] = field(default_factory=list)
    learning: list[float] = field(default_factory=list)

    @property
    def whole(self) -> list[float]:
        return [a + b for a, b in zip(self.drawing, self.learning, strict=True)]


class Ours:
    """Steps of this project on one prompt."""

    def __init__(self, policy: AutoregressivePolicy):
        self.policy, self.taken = policy, Taken()
        self.algorithm = subject.grpo()
        self.prompt = policy.encoder.collate([policy.encoder.encode(pair(), [])])
        self.optimizer = torch.optim.AdamW(policy.parameters(), lr=LR, fused=True)

    def step(self) -> None:
        """Draw, score, learn."""
        start = time.process_time()
        rollout = self.policy.sample(self.prompt, RESPONSES, Sampling(max_new_tokens=TOKENS))
        drawn = time.process_time()
        self.loss(rollout).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.taken.drawing.append(drawn - start)
        self.taken.learning.append(time.process_time() - drawn)

    def loss(self, rollout: Rollout) -> Tensor:
        """() of responses whose rewards are their numbers."""
        experience = Experience(
            rewards={"number": torch.tensor([REWARDS])},
            weights={"number": 1.0},
            old_logprobs=rollout.logprobs,
            chosen=rollout.mask,
            ended=rollout.ended,
        )
        rollout.batch.supervision = self.algorithm.credit(experience)
        return self.algorithm(self.policy, rollout.batch)[0]

    def gradients(self, tokens: Tensor) -> tuple[float, list[Tensor | None]]:
        """The loss and the gradients of given responses (K, T), as if they had been drawn just now."""
        ids = tokens[None]
        ones = torch.ones(ids.shape)
        batch = replace(
            self.prompt, response={"input_ids": ids, "mask": ones}, draws={"temperature": torch.tensor(1.0)}
        )
        rollout = Rollout(batch, [], ones, ones, torch.ones(ids.shape[:2], dtype=torch.bool))
        with torch.no_grad():
            rollout.logprobs = self.policy.action_logprobs(rollout)
        loss = self.loss(rollout)
        loss.backward()
        found = [p.grad for p in self.policy.parameters()]
        self.optimizer.zero_grad()
        return loss.item(), found


def pair() -> Preference:
    """A picture and a question about it; nobody looks at its answers."""
    return subject.make_pairs(1, 16, 8)[0]


def trl_trainer(policy: AutoregressivePolicy, steps: int, watch: TrainerCallback):
    """TRL's trainer around these weights, each of whose steps draws once and learns once."""
    from trl import GRPOConfig, GRPOTrainer

    parts = pair().messages[0]["content"]
    row = {"prompt": [{"role": "user", "content": parts[1]["text"]}], "image": parts[0]["image"]}
    args = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        per_device_train_batch_size=RESPONSES,
        num_generations=RESPONSES,
        max_completion_length=TOKENS,
        temperature=1.0,
        top_k=0,
        beta=0.0,
        loss_type="grpo",
        learning_rate=LR,
        max_steps=steps,
        max_grad_norm=0.0,
        optim="adamw_torch_fused",
        lr_scheduler_type="constant",
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
    )

    def number(completions: list[Any], **_: Any) -> list[float]:
        return REWARDS * (len(completions) // RESPONSES)

    trainer = GRPOTrainer(
        model=policy.network.model,
        reward_funcs=number,
        args=args,
        train_dataset=Dataset.from_list([row] * steps),
        processing_class=policy.encoder.processor,
        callbacks=[watch],
    )
    watch.trainer, watch.draw = trainer, trainer._generate_and_score_completions
    trainer._generate_and_score_completions = watch.timed_draw
    return trainer


class Watch(TrainerCallback):
    """Times TRL's steps, has the other contender take one of its own behind each, and compares gradients at the first.

    Args:
        ours: the other contender, whose weights are the same at first; None: TRL alone.
    """

    def __init__(self, ours: Ours | None):
        self.ours, self.taken, self.trainer, self.draw = ours, Taken(), None, None
        self.apart: tuple[float, float] | None = None  # of the losses; of the gradients, relative
        self._loss, self._start = 0.0, 0.0

    def timed_draw(self, inputs: Any) -> dict[str, Any]:
        start = time.process_time()
        found = self.draw(inputs)
        self.taken.drawing.append(time.process_time() - start)
        return found

    def on_step_begin(self, args, state, control, **_):
        self._start, self._aside = time.process_time(), 0.0

    def on_pre_optimizer_step(self, args, state, control, **_):
        if self.ours is None or self.apart is not None:
            return
        start = time.process_time()
        inputs = self.trainer._buffered_inputs[0]
        with torch.no_grad():
            loss = self.trainer.compute_loss(self.trainer.model, inputs).item()
        order = inputs["advantages"].argsort()  # TRL shuffles; the reward of a response is its number
        mine, gradients = self.ours.gradients(inputs["completion_ids"][order])
        theirs = [p.grad for p in self.trainer.model.parameters()]
        pairs = [(a, b) for a, b in zip(gradients, theirs, strict=True) if b is not None]
        norm = sum(b.double().square().sum() for _, b in pairs).sqrt()
        gap = sum((a - b).double().square().sum() for a, b in pairs).sqrt()
        self.apart = abs(mine - loss), (gap / norm).item()
        self._aside = time.process_time() - start

    def on_step_end(self, args, state, control, **_):
        whole = time.process_time() - self._start - self._aside
        self.taken.learning.append(whole - self.taken.drawing[-1])
        if self.ours is not None:
            self.ours.step()


def measure(repeats: int) -> tuple[dict[str, Taken], tuple[float, float]]:
    """Seconds of both, alternated, less those of a first round; how far their losses and gradients are apart.

    Raises:
        SystemExit: they do not learn the same.
    """
    ours = Ours(subject.make_speaker())
    watch = Watch(ours)
    trl_trainer(subject.make_speaker(), repeats + 1, watch).train()
    if watch.apart[0] > 1e-5 or watch.apart[1] > 1e-4:
        raise SystemExit(f"losses and gradients are {watch.apart} apart: the contenders do not learn the same")
    taken = {"ours": ours.taken, "trl": watch.taken}
    return {side: Taken(one.drawing[1:], one.learning[1:]) for side, one in taken.items()}, watch.apart


def measure_memory(side: str) -> float:
    """MiB that two steps of one contender take above its loaded model, in this process."""
    policy = subject.make_speaker()
    ours = Ours(policy)
    trainer = trl_trainer(policy, 2, Watch(None)) if side == "trl" else None
    gc.collect()
    before = machine.memory_in_use("cpu")
    for _ in range(2) if trainer is None else ():
        ours.step()
    if trainer is not None:
        trainer.train()
    return (machine.peak_memory("cpu") - before) / 2**20


def table(taken: dict[str, Taken], apart: tuple[float, float], peaks: dict[str, float]) -> str:
    rows = []
    for side, name in NAMES.items():
        one = taken[side]
        seconds = [f"{statistics.median(times):.2f}" for times in (one.drawing, one.learning, one.whole)]
        rows.append(f"| {name} | {' | '.join(seconds)} | {peaks[side]:.0f} |")
    theirs, mine = taken["trl"], taken["ours"]
    found = {
        "the whole step": machine.median_ratio(theirs.whole, mine.whole),
        "learning": machine.median_ratio(theirs.learning, mine.learning),
        "drawing": machine.median_ratio(theirs.drawing, mine.drawing),
    }
    told = [f"{name} **{ratio:.2f}×**{GOALS[name]}" for name, ratio in found.items()]
    return "\n".join(
        [
            "| | drawing, s | learning, s | whole step, s | MiB above the loaded model |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"TRL ÷ aa_lightning, medians of {len(mine.whole)} alternated rounds: {', '.join(told)}; "
            f"{peaks['ours'] / peaks['trl']:.2f}× the memory (the goal is 0.25×). On the responses that TRL drew first, the "
            f"losses are {apart[0]:.1e} apart, and the gradients {apart[1]:.1e} (norm of the difference, relative).",
            "",
        ]
    )


def main(argv: list[str] | None = None) -> None:
    parser = machine.arguments(__doc__)
    parser.set_defaults(repeats=3)
    parser.add_argument("--memory", choices=NAMES, help="only print this contender's memory")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    if options.memory:
        print(measure_memory(options.memory))
        return
    taken, apart = measure(options.repeats)
    peaks = {side: machine.memory_apart("benchmarks.grpo_step", side) for side in NAMES}
    heading = (
        f"# One GRPO step\n\nLLaVA with 44 M random weights, vocabulary 32,000, 256 picture tokens; one prompt, {RESPONSES} "
        f"responses of {TOKENS} tokens, one update of all weights, no reference; float32, nothing checkpointed.\n"
    )
    machine.write("grpo_step", "cpu", "\n".join([heading, machine.described("cpu"), table(taken, apart, peaks)]))


if __name__ == "__main__":
    main()
