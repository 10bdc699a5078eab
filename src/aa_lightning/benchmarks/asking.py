"""Questions put to a policy: batches of prompts of similar length, whose answers are kept as they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aa_lightning import media
from aa_lightning.benchmarks.kept import KeptAnswers, Row
from aa_lightning.benchmarks.questions import Questions
from aa_lightning.data.errors import BadRow
from aa_lightning.models.reference import evaluating
from aa_lightning.models.token.encoder import TooLong
from aa_lightning.rewards.answers import spoken
from aa_lightning.rewards.rules import Answer, Medium
from aa_lightning.system.console import bar
from aa_lightning.system.random_state import fixed_draws
from aa_lightning.types import Prompt, Response, Sampling

_BATCHES = 4  # that are sorted by length together: so many prompts are in memory


@dataclass(frozen=True)
class Asking:
    """Settings with which questions are put.

    Attributes:
        batch_size: prompts of a batch.
        skip_long: whether prompts over the limits are missing; else they are raised.
        place, places: of this process, and how many there are.
    """

    batch_size: int
    skip_long: bool = False
    place: int = 0
    places: int = 1

    def windows(self, count: int) -> list[range]:
        """The places of the questions that are sorted together: the same whatever the processes, so that batches are."""
        size = _BATCHES * self.batch_size
        return [range(start, min(start + size, count)) for start in range(0, count, size)]


@fixed_draws(0)
def ask(policy: Any, questions: Questions, kept: KeptAnswers, asking: Asking) -> None:
    """Have this process's share of the questions answered, greedily, as far as they are not.

    Args:
        policy: on its device.
        kept: where answers stand, and go.

    Raises:
        BadRow: a prompt that cannot be read, where those are not to be left out.
    """
    known = set(kept.read())
    own = asking.windows(len(questions))[asking.place :: asking.places]
    total = sum(map(len, own))
    with evaluating(policy), bar(None, f"asking {kept.name}", "question", total=total) as shown:
        for window in own:
            ids = {index: questions.prompts.undecoded(index).id for index in window}
            if not known.issuperset(ids.values()):
                for rows in _answered(policy, questions, window, known, kept.folder / kept.name, asking):
                    kept.append(row for row in rows if row["id"] not in known)
            shown.update(len(window))


def _answered(
    policy: Any, questions: Questions, window: range, known: set[str], folder: Path, asking: Asking
) -> Iterator[list[Row]]:
    """Rows of what could not be asked, and of each batch that is not known whole."""
    encoded, failed = _encoded(policy.encoder, questions, window, asking.skip_long)
    yield failed
    by_length = sorted(encoded, key=lambda index: policy.encoder.length(encoded[index][1]))
    device = next(policy.parameters()).device
    for start in range(0, len(by_length), asking.batch_size):
        several = by_length[start : start + asking.batch_size]
        prompts = [encoded[index][0] for index in several]
        if known.issuperset(prompt.id for prompt in prompts):
            continue
        batch = policy.encoder.collate([encoded[index][1] for index in several]).to(device)
        sampling = Sampling(max_new_tokens=questions.options.max_new_tokens, temperature=0.0, seeds=tuple(several))
        responses = [drawn[0] for drawn in policy.sample(batch, 1, sampling).responses]
        medium = questions.options.answers_in
        yield [_row(prompt, said, medium, folder) for prompt, said in zip(prompts, responses, strict=True)]


def _encoded(
    encoder: Any, questions: Questions, window: range, skip_long: bool
) -> tuple[dict[int, tuple[Prompt, Any]], list[Row]]:
    """Prompts with their tensors by their places, and rows of those that cannot be read."""
    encoded, failed = {}, []
    for index in window:
        try:
            prompt = questions.prompts[index]
            encoded[index] = (prompt, encoder.encode(prompt, []))
        except BadRow as bad:
            if not (skip_long if isinstance(bad, TooLong) else questions.options.on_bad_row == "skip"):
                raise
            failed.append({"id": questions.prompts.undecoded(index).id, "missing": bad.reason})
    return encoded, failed


def _row(prompt: Prompt, response: Response, medium: Medium, folder: Path) -> Row:
    """Tell what was said; of pictures and sounds, whether they are right, and their files."""
    row: Row = {"id": prompt.id, "said": spoken(response)}
    if medium != "text":
        row["right"] = bool(Answer(answers_in=medium, thoughts="ignored")(prompt, response))
        row["files"] = _saved(response, folder, prompt.id)
    return row


def _saved(response: Response, folder: Path, stem: str) -> list[str]:
    """Write what was drawn into files; their names, from the folder above."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = enumerate(part for part in response if part["type"] != "text")
    files = [media.save(part, folder / f"{stem.replace('/', '_')}_{number}") for number, part in drawn]
    return [str(file.relative_to(folder.parent)) for file in files]
