"""Drawing responses, by this project and by the library's `generate`, to prompts with pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import transformers as hf
from torch import Tensor

from aa_lightning.models.token.policy import AutoregressivePolicy
from aa_lightning.models.token.sampling import FREE, Drawn, Except, draw
from aa_lightning.types import Batch, Prompt, Sampling, text
from benchmarks import machine, subject

_NAMES = 100  # the first token of a response is this many behind its number, so that it is known which one it is


@dataclass
class Case:
    """Prompts and responses.

    Attributes:
        questions: words of each prompt's question, beside a picture of 256 tokens.
        n: responses to each.
        lengths: of the responses in tokens, in the order of the prompts.
    """

    name: str
    questions: Sequence[int]
    n: int
    lengths: Sequence[int]


_MIXED = [24, 16, 96, 40, 128, 32, 72, 56]
CASES = (
    Case("1 prompt, 8 answers of 64 tokens", [8], 8, [64] * 8),
    Case("1 prompt, 8 answers of 16 to 128 tokens", [8], 8, _MIXED),
    Case("8 prompts of 264 to 500 tokens, an answer of 16 to 128 tokens to each", range(0, 240, 30), 1, _MIXED),
    Case("4 prompts of 264 to 500 tokens, 4 answers of 16 to 128 tokens to each", range(0, 240, 60), 4, _MIXED * 2),
)


def batch_of(policy: AutoregressivePolicy, case: Case) -> Batch:
    seed = torch.Generator().manual_seed(0)
    picture = subject.make_pairs(1, 8, 8)[0].messages[0]["content"][0]
    parts = [[picture, text(subject.words(length, seed))] for length in case.questions]
    prompts = [Prompt(id=str(i), messages=[{"role": "user", "content": part}]) for i, part in enumerate(parts)]
    return policy.encoder.collate([policy.encoder.encode(prompt, []) for prompt in prompts])


class _Ending(Except):
    """Responses that end where they are told to."""

    def __init__(self, lengths: Sequence[int], banned: Sequence[int], end: int):
        super().__init__([*banned, end])
        self._lengths, self._end = torch.tensor(lengths), end

    def next(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        banned, step = self._banned, tokens.shape[1]
        if step == 0:
            return banned, _NAMES + torch.arange(len(tokens))
        ends = self._lengths[tokens[:, 0] - _NAMES] == step + 1
        return banned, torch.where(ends, self._end, FREE)


class _EndingLogits(hf.LogitsProcessor):
    """The same for `generate`."""

    def __init__(self, lengths: Sequence[int], before: int, end: int):
        self._lengths, self._before, self._end = torch.tensor(lengths), before, end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ends = self._lengths == input_ids.shape[1] - self._before + 1
        scores[:, self._end] = -torch.inf
        scores[ends] = -torch.inf
        scores[ends, self._end] = 0.0
        return scores


def ours(policy: AutoregressivePolicy, batch: Batch, case: Case) -> Callable[[], Drawn]:
    encoder, longest = policy.encoder, max(case.lengths)
    rules = _Ending(case.lengths, encoder.placeholders, encoder.end)
    return lambda: draw(policy.network, rules, encoder, batch, case.n, Sampling(max_new_tokens=longest))


def theirs(policy: AutoregressivePolicy, batch: Batch, case: Case) -> Callable[[], Tensor]:
    encoder = policy.encoder
    settings = hf.GenerationConfig(
        max_new_tokens=max(case.lengths),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        num_return_sequences=case.n,
        eos_token_id=encoder.end,
        pad_token_id=encoder.pad,
    )
    ending = [_EndingLogits(case.lengths, batch.prompt["input_ids"].shape[1], encoder.end)]

    @torch.no_grad()
    def generate() -> Tensor:
        return policy.network.model.generate(**batch.prompt, generation_config=settings, logits_processor=ending)

    return generate


def check(batch: Batch, case: Case, drawn: Drawn, tokens: Tensor, end: int) -> None:
    """Make sure that both drew responses of these lengths."""
    lengths = torch.tensor(case.lengths)
    assert torch.equal(drawn.said.sum(-1).flatten().long(), lengths)
    written = tokens[:, batch.prompt["input_ids"].shape[1] :] == end
    assert torch.equal(written.int().argmax(-1) + 1, lengths)


def measured(policy: AutoregressivePolicy, case: Case, repeats: int, device: str) -> str:
    """A row of the table."""
    batch = batch_of(policy, case).to(device)
    contenders = [theirs(policy, batch, case), ours(policy, batch, case)]
    tokens, drawn = (contender() for contender in contenders)
    check(batch, case, drawn, tokens, policy.encoder.end)
    slow, fast = machine.alternated(contenders, repeats, device)
    return f"| {case.name} | {min(slow):.2f} | {min(fast):.2f} | {machine.median_ratio(slow, fast):.2f} |"


def main(argv: list[str] | None = None) -> None:
    options = machine.arguments(__doc__).parse_args(argv)
    torch.set_num_threads(options.threads)
    policy = subject.make_speaker().eval().to(options.device)
    rows = [measured(policy, case, options.repeats, options.device) for case in CASES]
    weights, words = sum(weight.numel() for weight in policy.parameters()), policy.network.head.out_features
    lines = [
        "# Drawing responses\n",
        f"LLaVA with {weights / 1e6:.0f} million random weights, {words:,} words; temperature 1, no top-k, float32; the "
        f"best of {options.repeats} alternated rounds, and the medians of their ratios. Answers end where they are told to, "
        "in both.\n",
        machine.described(options.device),
        "| | generate, s | ours, s | generate / ours |",
        "|---|---|---|---|",
        *rows,
        "",
    ]
    machine.write("drawing", options.device, "\n".join(lines))


if __name__ == "__main__":
    main()
