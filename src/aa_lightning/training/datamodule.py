"""The LightningDataModule: template-normalised examples of any modality, encoded in data workers."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import lightning as L
import torch
from torch import Tensor

from aa_lightning.algos.counts import supervised_terms
from aa_lightning.configuration.schema import Loader
from aa_lightning.data.corruption.corrupt import corrupt
from aa_lightning.data.corruption.options import CorruptionOptions
from aa_lightning.data.errors import BadRow
from aa_lightning.data.examples import SKIP
from aa_lightning.data.kept import Kept
from aa_lightning.data.kinds import weaken
from aa_lightning.data.scan import Dropped, prompt_media_of
from aa_lightning.models.token.encoder import TooLong
from aa_lightning.system.console import bar
from aa_lightning.training.loader import EvalLoader, TrainLoader
from aa_lightning.training.pace import Pace
from aa_lightning.training.sizes import bytes_of
from aa_lightning.training.supervision import after, changed_tokens, ratings, steps, supervision
from aa_lightning.types import Batch, Encoder, Example, Feedback, Kind, Rating, Response, text

LENGTH = "length"  # in place of a column's name, for rows that are too long


@dataclass
class Item:
    """One example with its tensors, and places in its responses that its supervision speaks of."""

    example: Example
    encoded: Any
    places: list[int] = field(default_factory=list)
    branches: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """Requirements of an algorithm on batches besides responses (`Algorithm.wants`).

    Attributes:
        names: of supervision and branches.
        corruption: of the corrupted branch.
        criteria: whose ratings are read.
    """

    names: tuple[str, ...] = ()
    corruption: CorruptionOptions | None = None
    criteria: tuple[str, ...] = ()


def branches_of(encoder: Encoder, items: Sequence[Item]) -> dict[str, Batch]:
    """Alternative inputs of P examples, by their names."""
    return {name: encoder.collate([item.branches[name] for item in items]) for name in items[0].branches}


class EncodedExamples(Sequence):
    """Examples, tokenised (or resized) when they are first asked for.

    Args:
        examples: decoded examples.
        encoder: the policy's.
        keep: bytes of encoded examples that stay in memory; a small data set is then decoded once and not once per epoch.
        wanted: what batches bring besides responses.
    """

    def __init__(self, examples: Sequence[Example], encoder: Encoder, keep: int = 0, wanted: Wanted | None = None):
        self.examples, self.encoder, self.wanted = examples, encoder, wanted or Wanted()
        self.kept = Kept[Item](keep)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Item:
        if index in self.kept:
            return self.kept[index]
        try:
            item = self._encoded(index)
        except TooLong:
            raise
        except BadRow as bad:
            advice = "" if SKIP in bad.reason else f" {SKIP}"
            raise BadRow(bad.row, bad.column, f"{bad.reason}{advice}") from bad
        self.kept.offer(index, item, bytes_of(item))
        return item

    @property
    def unread(self) -> int | None:
        """The number of examples that are not kept yet; None: they are too large to be kept all."""
        if not len(self.kept) or self.kept.size / len(self.kept) * len(self) > self.kept.limit:
            return None
        return len(self) - len(self.kept)

    def _encoded(self, index: int) -> Item:
        item = self.item(self.examples[index])
        item.branches = {
            name: self._branch(name, index, item.example) for name in self.wanted.names if name in BRANCHES
        }
        return item

    def item(self, example: Example) -> Item:
        """The example with the tensors that the algorithm reads."""
        if "critique" in self.wanted.names:
            return self._with_critiques(example)
        places = self.encoder.part_ends(example, example.responses[0]) if "steps" in self.wanted.names else []
        return Item(example, self.encoder.encode(example, example.responses), places)

    def _with_critiques(self, example: Example) -> Item:
        """Each response goes on with what is said about it; where nothing is, it stays alone."""
        said = [[text(critique or "")] for critique in example.critique]
        encoded = self.encoder.encode(example, [*example.responses, *said])
        count = len(example.responses)
        answers, critiques = encoded.responses[:count], encoded.responses[count:]
        both = zip(answers, critiques, example.critique, strict=True)
        encoded.responses = [torch.cat([answer, more]) if told else answer for answer, more, told in both]
        return Item(example, encoded, [len(answer) for answer in answers])

    def collate(self, items: Sequence[Item]) -> Batch:
        """P examples as one batch, with their supervision."""
        batch = self.encoder.collate([item.encoded for item in items])
        batch.checks = [item.example.check for item in items]
        batch.supervision = self._supervision(items, batch)
        batch.branches = branches_of(self.encoder, items)
        return batch

    def _supervision(self, items: Sequence[Item], batch: Batch) -> dict[str, Tensor]:
        examples, places, names = [item.example for item in items], [item.places for item in items], self.wanted.names
        found = supervision(examples)
        if "changed" in names:
            found["changed"] = changed_tokens(batch.response["input_ids"], batch.response["mask"])
        if "tie" in names:
            found["tie"] = torch.tensor([example.tie for example in examples])
        if "ratings" in names:
            found["ratings"] = ratings(examples, self.wanted.criteria)
        if "steps" in names:
            found |= steps([example.steps for example in examples], places)
        if "critique" in names:
            found["critique"] = after(batch.response["mask"], places)
        return found

    def _branch(self, name: str, index: int, example: Example) -> Any:
        """An alternative input for the row. Mismatched rows are taken from half a data set further on."""
        if name == "corrupted":
            assert self.wanted.corruption is not None
            example = corrupt(example, self.wanted.corruption, lambda: (self.examples[k] for k in range(len(self))))
            return self.encoder.encode(example, example.responses)
        if name == "gold":
            return self.encoder.encode(example, [refined(example)])
        other = self.examples[(index + len(self) // 2) % len(self)]
        if name == "mismatched":
            return self.encoder.encode(example, other.responses)
        return self.encoder.encode(other, other.responses[:1])

    def lengths(self) -> list[int]:
        """Tokens of each example: the prompt, and its longest response."""
        rows = bar(range(len(self)), "measuring lengths", "row")
        return [self.encoder.length(self[index].encoded) for index in rows]


class Fitting(Sequence):
    """Examples without those that are longer than the limits, or that cannot be decoded or encoded; `dropped` names them
    too. Every one is decoded and encoded once to know.

    Args:
        examples: decoded examples.
        encoder: the policy's; its limits decide.
        skip_long, skip_bad: whether rows over the limits, and others with a fault, are left out; else they are raised.
        wanted: what batches bring besides responses; that must fit as well.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        encoder: Encoder,
        skip_long: bool,
        skip_bad: bool,
        wanted: Wanted | None = None,
    ):
        self.examples, self.on_bad_row = examples, examples.on_bad_row
        self.dropped, self.showing, self.labels = list(examples.dropped), Counter[str](), Counter[bool]()
        self._kept: list[int] = []
        for index in bar(range(len(examples)), "reading every row", "row"):
            try:
                example = examples[index]
                encoder.encode(example, answers(example, wanted or Wanted()))
            except BadRow as bad:
                if not (skip_long if isinstance(bad, TooLong) else skip_bad):
                    raise
                self.dropped.append(dropped_by(bad))
            else:
                self._kept.append(index)
                self.showing.update(prompt_media_of(example))
                self.labels.update([example.desirable] if isinstance(example, Rating) else [])
        if not self._kept:
            raise ValueError(
                f"none of {len(examples)} rows is left that is short enough and can be read: raise loader.max_prompt_tokens "
                f"or loader.max_response_tokens, or mend the rows. The first one: {self.dropped[-len(examples)].reason}"
            )

    @property
    def media(self) -> set[str]:
        """Media that prompts of these rows show."""
        return set(self.showing)

    def corrupted(self, corruption: CorruptionOptions) -> Fitting:
        """The same rows with the media of their prompts spoiled."""
        spoiled = copy.copy(self)
        spoiled.examples = self.examples.corrupted(corruption)
        return spoiled

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index):
        if isinstance(index, slice):
            fewer = copy.copy(self)
            fewer._kept = self._kept[index]
            return fewer
        return self.examples[self._kept[index]]


def dropped_by(bad: BadRow) -> Dropped:
    """A row that a fault in decoding or encoding leaves out."""
    column = LENGTH if isinstance(bad, TooLong) else bad.column
    return Dropped(bad.row, column, bad.reason.removesuffix(SKIP).rstrip())


class PromptsOnly(EncodedExamples):
    """The same examples without their responses, for generation."""

    def item(self, example: Example) -> Item:
        (asked,) = weaken(example, "prompt")
        return Item(example, self.encoder.encode(asked, []))


BRANCHES = ("corrupted", "mismatched", "auxiliary", "gold")


def answers(example: Example, wanted: Wanted) -> list[Response]:
    """Everything that batches bring as an answer in this row: its responses, what is said about them, the refined one."""
    said = example.critique if "critique" in wanted.names else ()
    gold = [refined(example)] if "gold" in wanted.names else []
    return [*example.responses, *([text(critique)] for critique in said if critique), *gold]


def refined(example: Feedback) -> Response:
    """The better response of a row, of the rejected one where both have been refined.

    Raises:
        ValueError: nobody refined either of them.
    """
    found = next((response for response in reversed(example.refinement) if response is not None), None)
    if found is None:
        raise ValueError(
            f"row {example.id} has no refined response, and the algorithm imitates them: leave such rows out of the data, "
            "or set the branch of this objective in algo.objectives to null"
        )
    return found


@dataclass(frozen=True)
class HeldOutRows:
    """Held-out rows as they are measured.

    Attributes:
        kind: the richest that all of them are, so that all objectives are measured alike.
        examples: of that kind.
    """

    kind: Kind
    examples: Sequence[Example]


class AlignmentData(L.LightningDataModule):
    """Training and held-out data of a run.

    Args:
        train, val: examples of the kind that the algorithm asks for.
        held_out: what is measured.
        encoder: reads all of them.
        options: of the loaders.
        micro_batch_size: prompts per forward pass and process.
        accumulate: forward passes per optimiser step.
        seed: of the order.
        wanted: what the algorithm wants of a batch besides its responses.
        count: what its means over a whole step divide by, a batch's share of it.
    """

    def __init__(
        self,
        train: Sequence[Example],
        val: Sequence[Example],
        held_out: HeldOutRows,
        encoder: Encoder,
        options: Loader,
        micro_batch_size: int,
        accumulate: int,
        seed: int,
        wanted: Wanted | None = None,
        count: Callable[[Batch], float | list[float]] = supervised_terms,
    ):
        super().__init__()
        self.held_out, self.encoder, self.count = held_out, encoder, count
        self.train_examples = EncodedExamples(train, encoder, options.kept_bytes, wanted)
        self.val_examples = EncodedExamples(val, encoder, options.kept_bytes, wanted)
        self.options, self.micro_batch_size, self.accumulate, self.seed = options, micro_batch_size, accumulate, seed

    @cached_property
    def train_loader(self) -> TrainLoader:
        """The loader of the training rows, the same whenever it is asked for."""
        return TrainLoader(
            self.train_examples,
            self.train_examples.collate,
            batch_size=self.options.batch_size,
            micro_batch_size=self.micro_batch_size,
            seed=self.seed,
            workers=self.options.given_workers,
            count=self.count,
            lengths=self.train_examples.lengths() if self.options.group_by_length else None,
            pace=self._pace() if self.options.workers == "auto" else None,
        )

    def train_dataloader(self) -> TrainLoader:
        return self.train_loader

    def _pace(self) -> Pace:
        examples = self.train_examples
        return Pace(lambda: examples.unread, examples.kept.share)

    def val_dataloader(self) -> EvalLoader:
        return eval_loader(self.val_examples, self.options)


def eval_loader(examples: EncodedExamples, options: Loader) -> EvalLoader:
    """A loader over held-out examples, each exactly once over all ranks."""
    return EvalLoader(examples, examples.collate, batch_size=options.eval_batch_size, workers=options.given_workers)
