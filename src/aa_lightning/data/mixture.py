"""Several data sets in one run: their shares, one order of all rows, ids that name the set."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from aa_lightning.configuration.schema import STRICT
from aa_lightning.data.corruption.options import Corruption, CorruptionOptions
from aa_lightning.data.errors import BadRow
from aa_lightning.data.examples import load_examples
from aa_lightning.data.multi_row import Album, Symbols
from aa_lightning.data.options import DataOptions, SourceOptions, template_variant_for
from aa_lightning.types import Algorithm, Check, Example, Kind

if TYPE_CHECKING:
    import numpy as np

Fit = Callable[[Sequence[Example]], Sequence[Example]]
LARGEST = 20_000_000  # rows in an epoch
_EXTRA = ("margin", "safe", "steps")  # what rows may bring besides responses
Order = tuple["np.ndarray", "np.ndarray"]  # at each place: which part, and which of its rows


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Part:
    """One data set of a mixture, and how much of an epoch it takes beside the others."""

    weight: float | None = Field(gt=0, allow_inf_nan=False)
    data: DataOptions


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MixtureOptions:
    """`conf/data/mixture.yaml`, its parts written out."""

    parts: dict[str, Part] = Field(min_length=1)
    temperature: float | None = Field(gt=0)
    on_bad_row: Literal["error", "skip"] | None
    limit: int | None = Field(ge=1)
    corruption: Corruption | None

    @model_validator(mode="after")
    def _shares_are_said_once(self) -> MixtureOptions:
        weighed = [name for name, part in self.parts.items() if part.weight is not None]
        if weighed and len(weighed) < len(self.parts):
            without = next(name for name in self.parts if name not in weighed)
            raise ValueError(f"{weighed[0]} has a weight and {without} has none: give all parts a weight, or none")
        if weighed and self.temperature is not None:
            raise ValueError(
                "give either weights, which are the shares, or a temperature, which makes them of the sizes"
            )
        if self.corruption is not None and not any(_shows(part.data, self.corruption) for part in self.parts.values()):
            raise ValueError(
                f"corruption={self.corruption.name} spoils the {' and '.join(self.corruption.kinds)} parts of prompts, "
                "and no data set of the mixture has any: set corruption=null"
            )
        return self

    def serving(self, algorithm: Algorithm) -> MixtureOptions:
        """These rows as an algorithm needs them: by another mapping where every part has one for it."""
        offered = set.intersection(*(set(part.data.templates) for part in self.parts.values()))
        need = template_variant_for(algorithm, offered)
        return replace(
            self, parts={name: replace(part, data=part.data.with_template(need)) for name, part in self.parts.items()}
        )

    @property
    def kinds(self) -> dict[str, Kind]:
        """Of the rows of each part, where it is known before columns are read."""
        return {f"the part {name}": kind for name, part in self.parts.items() for kind in part.data.kinds.values()}

    @property
    def holds_out(self) -> bool:
        """Tell whether every part has rows that are measured and not trained on."""
        return all(part.data.holds_out for part in self.parts.values())

    @property
    def skips_bad_rows(self) -> bool:
        """Tell whether bad rows of every part are left out instead of stopping."""
        return all(self.of(name).skips_bad_rows for name in self.parts)

    @property
    def origins(self) -> list[SourceOptions]:
        """Every source of rows."""
        return [origin for part in self.parts.values() for origin in part.data.origins]

    @property
    def made_by(self) -> list[Album | Symbols]:
        """Makers of prompts that join several rows."""
        return [made for part in self.parts.values() for made in part.data.made_by]

    @property
    def shown(self) -> frozenset[str] | None:
        """The media in prompts of any part; None where only the columns of one will tell."""
        shown = [part.data.shown for part in self.parts.values()]
        return None if None in shown else frozenset().union(*shown)

    @property
    def writes_media(self) -> bool:
        """Tell whether responses are known to hold media."""
        return any(part.data.writes_media for part in self.parts.values())

    @property
    def checks(self) -> frozenset[Check]:
        """Names of the checks that compare answers of any part."""
        return frozenset().union(*(part.data.checks for part in self.parts.values()))

    @property
    def offers(self) -> frozenset[str]:
        """Things that the rows of every part are known to bring besides responses."""
        return frozenset.intersection(*(part.data.offers for part in self.parts.values()))

    def of(self, name: str) -> DataOptions:
        """The options of a part, with what is said here for all of them."""
        data = self.parts[name].data
        given: dict[str, Any] = {"on_bad_row": self.on_bad_row, "limit": self.limit}
        if self.corruption is not None and _shows(data, self.corruption):
            given["corruption"] = self.corruption
        return replace(data, **{key: value for key, value in given.items() if value is not None})


class Mixture(Sequence[Example]):
    """Examples of several sets as one sequence.

    Args:
        parts: examples by the name of their set.
        order: which part and which of its examples stand at each place.
    """

    def __init__(self, parts: Mapping[str, Sequence[Example]], order: Order):
        self.names, self.parts = list(parts), list(parts.values())
        self._part, self._row = order
        self.dropped = [
            replace(row, row=f"{name}/{row.row}") for name, examples in parts.items() for row in examples.dropped
        ]
        self.on_bad_row = "skip" if any(examples.on_bad_row == "skip" for examples in self.parts) else "error"
        self.labels = sum((examples.labels for examples in self.parts), Counter())
        self.showing = sum((examples.showing for examples in self.parts), Counter())
        first = [vars(part[0]) for part in self.parts if len(part)]
        # what only some parts have would count in some batches and not in others
        self._gone = {
            key: None for key in _EXTRA if all(key in row for row in first) and any(row[key] is None for row in first)
        }
        _check_sizes({name: len(part[0].responses) for name, part in parts.items() if len(part)})

    @property
    def media(self) -> set[str]:
        """Media that prompts of these rows show."""
        return set(self.showing)

    def corrupted(self, corruption: CorruptionOptions) -> Mixture:
        """The same rows with the media of their prompts spoiled."""
        spoiled = copy.copy(self)
        spoiled.parts = [part.corrupted(corruption) for part in self.parts]
        return spoiled

    def __len__(self) -> int:
        return len(self._row)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> Mixture: ...

    def __getitem__(self, index: int | slice) -> Example | Mixture:
        """The example, whose id begins with the name of its set; a slice gives fewer of them."""
        if isinstance(index, slice):
            fewer = copy.copy(self)
            fewer._part, fewer._row = self._part[index], self._row[index]
            return fewer
        name = self.names[self._part[index]]
        try:
            example = self.parts[self._part[index]][self._row[index]]
        except BadRow as bad:
            raise BadRow(f"{name}/{bad.row}", bad.column, bad.reason) from bad
        return replace(example, id=f"{name}/{example.id}", **self._gone)


def _check_sizes(answers: Mapping[str, int]) -> None:
    """Rankings of the parts go into batches together.

    Raises:
        ValueError: they have unequally many answers.
    """
    if len(set(answers.values())) > 1:
        counts = ", ".join(f"{count} ({name})" for name, count in answers.items())
        raise ValueError(
            f"the rankings of a batch have equally many answers, and those of the parts have {counts}: type for each part "
            f"'data.parts={{<part>:{{template:{{ranked:{min(answers.values())}}}}},…}}'"
        )


def load_mixture(
    options: MixtureOptions,
    split: Literal["train", "val"],
    wanted: Kind,
    fit: Fit,
    keep: int = 0,
) -> Mixture:
    """The examples of all parts: those to train on by their shares, those held out in turns and each once.

    Args:
        options: the data group of the configuration.
        split: train, or val.
        wanted: the kind of example that the algorithm asks for.
        fit: leaves out of a part what is too long.
        keep: bytes of templated rows of each part that stay in memory.

    Raises:
        ValueError: a part cannot be read, or has rows of another kind.
    """
    parts = {name: _load(options, name, split, wanted, fit, keep) for name in options.parts}
    if split == "val":
        parts = {name: part for name, part in parts.items() if len(part)} or parts
    sizes = [len(part) for part in parts.values()]
    if split == "val":
        return Mixture(parts, round_robin(sizes))
    weights = [part.weight for part in options.parts.values()]
    shares = [weight for weight in weights if weight is not None] or by_size(sizes, options.temperature)
    return Mixture(parts, interleave_by_weight(sizes, shares, list(parts)))


def by_size(sizes: Sequence[int], temperature: float | None) -> list[float]:
    """Shares of sets by their rows: n^(1/T), made to sum to 1. T = 1 leaves them as they are; T → ∞ makes them equal."""
    # relative to the largest, so that no power overflows
    powers = [(size / max(sizes)) ** (1 / (temperature or 1.0)) for size in sizes]
    return [power / sum(powers) for power in powers]


def interleave_by_weight(sizes: Sequence[int], shares: Sequence[float], names: Sequence[str]) -> Order:
    """An epoch in which part i takes its share and has every row at least once: it is as long as the part that comes
    round last needs, and the others begin anew.

    Args:
        sizes: rows of each part.
        shares: of each part; only their ratios count.
        names: for errors.

    Returns:
        The order, in which parts alternate by their shares: what is shown or measured of the first rows holds for all.
    """
    longest = max(range(len(sizes)), key=lambda i: sizes[i] / shares[i])
    passes = sizes[longest] / shares[longest]
    counts = [max(size, round(share * passes)) for size, share in zip(sizes, shares, strict=True)]
    if sum(counts) > LARGEST:
        raise ValueError(
            f"with these shares one epoch takes {sum(counts):,} rows until every row of {names[longest]} has come: raise "
            f"its weight, or take fewer of its rows: 'data.parts={{{names[longest]}:{{weight:<number>,limit:100000}},…}}'"
        )
    import numpy as np

    parts = np.repeat(np.arange(len(sizes)), counts)
    rows = np.concatenate([np.arange(count) % size for size, count in zip(sizes, counts, strict=True)])
    places = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    order = np.argsort(places, kind="stable")
    return parts[order], rows[order]


def round_robin(sizes: Sequence[int]) -> Order:
    """Every row once, one of each part in turn, so that the first ones hold as many of each as there are."""
    import numpy as np

    parts = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.concatenate([np.arange(size) for size in sizes])
    order = np.lexsort((parts, rows))
    return parts[order], rows[order]


def _load(options: MixtureOptions, name: str, split: Literal["train", "val"], wanted: Kind, fit: Fit, keep: int) -> Any:
    try:
        return fit(load_examples(options.of(name), split, wanted, keep))
    except BadRow as bad:
        raise BadRow(f"{name}/{bad.row}", bad.column, bad.reason) from bad
    except FileNotFoundError as error:
        raise FileNotFoundError(f"the part {name}: {error}") from error
    except ValueError as error:
        raise ValueError(f"the part {name} of the mixture: {error}") from error


def _shows(data: DataOptions, corruption: CorruptionOptions) -> bool:
    """Tell whether the prompts of a data set have media that a corruption spoils."""
    return data.template is not None and any(part.medium in corruption.kinds for part in data.template.prompt)
