"""A map-style sequence of decoded examples of the kind that an algorithm asks for."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Literal, overload

from aa_lightning import media
from aa_lightning.data.corruption.corrupt import corrupt, prompt_media
from aa_lightning.data.corruption.options import CorruptionOptions
from aa_lightning.data.errors import BadRow, LeftOut
from aa_lightning.data.kept import Kept
from aa_lightning.data.kinds import can_serve, weaken
from aa_lightning.data.multi_row import Album, Place, QuestionIndex, Symbols, source_kind_for
from aa_lightning.data.options import DataOptions, SourceOptions
from aa_lightning.data.records import Record, recorded
from aa_lightning.data.scan import Dropped, Scan, scan_of
from aa_lightning.data.shapes import Shapes
from aa_lightning.data.sources.open import Source, is_confined, media_root, open_source
from aa_lightning.data.split import Split, key_of, rows_of
from aa_lightning.data.template.allowed import Allowed
from aa_lightning.data.template.infer import completed
from aa_lightning.data.template.template import Template
from aa_lightning.media import MediaOptions
from aa_lightning.system.console import bar
from aa_lightning.types import Example, Feedback, Kind, Part, Preference, Ranking

_SHOW_PROGRESS_AFTER = 2.0  # seconds
_NAMED = 5  # rows in an error
SKIP = "To leave such rows out, named and counted, set data.on_bad_row=skip."
_ANY_MEDIA = MediaOptions()
WORTH_KEEPING = 10_000  # rows, which take about a second
_MOST_LOOKED_AT = 10_000  # rows that are read again where a scan is used again; of more all are


class Examples(Sequence[Example]):
    """Every row is read once at set-up, without decoding media, so that what is bad is known before training starts.

    Args:
        source: the rows.
        template: makes examples of them.
        wanted: the kind of example; richer rows are weakened to it.
        on_bad_row: error: the first bad row stops; skip: bad rows are left out and listed in `dropped`. Rows that the
            template's own drop rules leave out are listed in `dropped` either way.
        rows: tells which rows of the source, by index; None means all.
        multi_row: makes prompts of several rows.
        corruption: spoils the media of prompts.
        media_options: what is read of media, and the limits.
        verify_media: decode every medium at set-up.
        keep: bytes of what the template made of rows that stay in memory: a kept row is read and templated once.
        may_be_empty: whether none may be left, as of a few rows that are held out.
        key: under which what all rows told is kept for the next time; None: it is not.

    Raises:
        BadRow: with `on_bad_row` error, the first bad row.
        ValueError: the rows are poorer than what is wanted, or none is left.
    """

    def __init__(
        self,
        source: Source,
        template: Template,
        wanted: Kind,
        on_bad_row: Literal["error", "skip"] = "error",
        *,
        rows: Callable[[], Sequence[int]] | None = None,
        multi_row: Album | Symbols | None = None,
        corruption: CorruptionOptions | None = None,
        media_options: MediaOptions = _ANY_MEDIA,
        verify_media: bool = False,
        keep: int = 0,
        may_be_empty: bool = False,
        key: str | None = None,
    ):
        read = source_kind_for(multi_row, wanted)
        if not can_serve(template.options.kind, read):
            raise ValueError(
                f"the data set has rows of kind {template.options.kind}, and the algorithm needs {wanted}: type a data= "
                f"with {wanted} rows, or an algo= that needs less, such as algo=sft"
            )
        self.source, self.template, self.wanted, self._read = source, template.serving(read), wanted, read
        self.multi_row, self._catalogue = multi_row, QuestionIndex(self._decoded_of)
        self.on_bad_row, self.corruption, self.media_options = on_bad_row, corruption, media_options
        self._templated = Kept[bytes](keep)
        if key is None or len(source) < WORTH_KEEPING:
            scan = self._scan(rows, verify_media)
        else:
            scan = scan_of(recorded(key, lambda: self._scan(rows, verify_media).record(), self._still_holds))
        self.dropped, self.showing, self.labels = scan.dropped, scan.showing, scan.labels
        self._row, self._part = scan.rows, scan.parts
        if not len(self) and not may_be_empty:
            raise ValueError(f"none of {len(self.dropped)} rows is left. {self._why_dropped()}".strip())

    @property
    def media(self) -> set[str]:
        """Media that prompts of these rows show."""
        return set(self.showing)

    def corrupted(self, corruption: CorruptionOptions) -> Examples:
        """The same rows with the media of their prompts spoiled."""
        spoiled = copy.copy(self)
        spoiled.corruption = corruption
        return spoiled

    def __len__(self) -> int:
        return len(self._row)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> Examples: ...

    def __getitem__(self, index: int | slice) -> Example | Examples:
        """The decoded example; a slice gives fewer examples of the same source.

        Raises:
            BadRow: a medium that could be found turns out not to be decodable.
        """
        if isinstance(index, slice):
            fewer = copy.copy(self)
            fewer._row, fewer._part = self._row[index], self._part[index]
            return fewer
        if not -len(self) <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        try:
            example = self._decoded_at(index)
        except BadRow as bad:
            raise BadRow(bad.row, bad.column, f"{bad.reason} {SKIP}") from bad
        if self.multi_row is not None:
            made = self.multi_row.made(example, (self._row[index], self._part[index]), self._catalogue)
            example = weaken(made, self.wanted)[0]
        if self.corruption is None:
            return example
        return corrupt(example, self.corruption, lambda: self._others(index))

    def undecoded(self, index: int) -> Example:
        """The example at a place with its media as the row names them, which costs no decoding."""
        return self._undecoded(self._row[index])[self._part[index]]

    # ------------------------------------------------------------ set-up

    def _scan(self, rows: Callable[[], Sequence[int]] | None, verify_media: bool) -> Scan:
        scan, sizes = Scan(), set[int]()
        kinds, spoiled = () if self.corruption is None else self.corruption.kinds, False
        every = range(len(self.source)) if rows is None else rows()
        for row in bar(every, "reading rows", "row", delay=_SHOW_PROGRESS_AFTER):
            try:
                examples = self._undecoded(row)
                if verify_media:
                    examples = [_decoded(example, row, self.media_options) for example in examples]
                self._enter(row, examples)
            except BadRow as bad:
                scan.dropped.append(self._dropped(row, bad))
                continue
            if not examples:
                reason = f"Nothing in it serves as a {self.wanted}."
                scan.dropped.append(Dropped(str(row), "label", reason, declared=True))
            spoiled = spoiled or any(prompt_media(example, kind) for example in examples for kind in kinds)
            sizes.update(len(example.responses) for example in examples)
            scan.enter(row, examples)
        if self.multi_row is not None:
            self._leave_out_alone(scan)
        if len(sizes) > 1:
            raise ValueError(
                f"rows have from {min(sizes)} to {max(sizes)} answers, and the rankings of a batch have equally many: type "
                f"++data.template.ranked={min(sizes)}, which takes the best, the worst and others between them"
            )
        if self.corruption is not None and not spoiled and len(scan.rows):
            raise ValueError(
                f"corruption={self.corruption.name} spoils the {' and '.join(kinds)} parts of prompts, and the prompts of "
                "this data set have none: set corruption=null"
            )
        return scan

    def _still_holds(self, record: Record) -> bool:
        """Tell whether some rows give what they gave when all were read."""
        looked_at = scan_of(record).looked_at()
        return len(looked_at) <= _MOST_LOOKED_AT and all(self._count(row) == looked_at[row] for row in looked_at)

    def _count(self, row: int) -> int:
        try:
            return len(self._undecoded(row))
        except BadRow:
            return 0

    def _enter(self, row: int, examples: list[Example]) -> None:
        for part, example in enumerate(examples if self.multi_row is not None else []):
            try:
                self._catalogue.add(example, (row, part))
            except ValueError as error:
                raise BadRow(str(row), "prompt", str(error)) from error

    def _leave_out_alone(self, scan: Scan) -> None:
        """Rows that find no others to be shown with."""
        assert self.multi_row is not None
        places = zip(scan.rows, scan.parts, strict=True)
        served = [self.multi_row.has_partners(place, self._catalogue) for place in places]
        scan.dropped += [
            Dropped(str(row), "prompt", self.multi_row.lacking, declared=True)
            for row, good in zip(scan.rows, served, strict=True)
            if not good
        ]
        scan.keep(served)

    def _dropped(self, row: int, bad: BadRow) -> Dropped:
        if self.on_bad_row == "error" and not isinstance(bad, LeftOut):
            raise BadRow(str(row), bad.column, f"{bad.reason} {SKIP}") from bad
        return Dropped(str(row), bad.column, bad.reason, isinstance(bad, LeftOut))

    def _why_dropped(self) -> str:
        named = [f"Row {d.row}, column {d.column!r}: {d.reason}" for d in self.dropped[:_NAMED]]
        more = len(self.dropped) - len(named)
        return " ".join([*named, f"And {more} more." if more > 0 else ""])

    # ------------------------------------------------------------ access

    def _undecoded(self, row: int) -> list[Example]:
        if row in self._templated:
            examples = pickle.loads(self._templated[row])
        else:
            examples = self.template(self.source[row], str(row))
            if self._templated.limit:
                packed = pickle.dumps(examples, pickle.HIGHEST_PROTOCOL)
                self._templated.offer(row, packed, len(packed))
        return [weak for example in examples for weak in weaken(example, self._read)]

    def _others(self, index: int) -> Iterator[Example]:
        """All decoded examples, from a place on that depends on the index alone."""
        start = Random(index).randrange(len(self))
        for step in range(len(self)):
            yield self._decoded_at((start + step) % len(self))

    def _decoded_at(self, index: int) -> Example:
        return self._decoded_of((self._row[index], self._part[index]))

    def _decoded_of(self, place: Place) -> Example:
        row, part = place
        return _decoded(self._undecoded(row)[part], row, self.media_options)


def load_examples(options: DataOptions, split: Split, wanted: Kind, keep: int = 0) -> Examples:
    """The examples to train on, or those held out.

    Args:
        options: the data group of the configuration.
        split: train, or val: a source of its own or a share of the training rows.
        wanted: the kind of example that the algorithm asks for.
        keep: bytes of templated rows that stay in memory.

    Raises:
        FileNotFoundError, ValueError, BadRow: with what was given, why it cannot work and what to type.
    """
    origin = options.train if split == "train" or options.val_share is not None else options.val
    if origin is None:
        raise ValueError(
            "the data set has no held-out rows: set data.val_share=0.05, or name their source with data.val"
        )
    options = completed(options)
    source, limits = open_source(origin), allowed(origin, options)
    return Examples(
        source,
        Template(options.template, limits),
        wanted,
        options.on_bad_row,
        rows=lambda: rows_of(len(source), options, split),
        multi_row=options.multi_row,
        corruption=options.corruption,
        media_options=options.media,
        verify_media=options.verify_media,
        keep=keep,
        may_be_empty=split == "val" and options.val_share is not None,
        key=key_of(origin, options, split, wanted, limits),
    )


def allowed(origin: SourceOptions, options: DataOptions) -> Allowed:
    """Limits on what rows of a source may name and hold."""
    return Allowed(
        root=media_root(origin),
        confined=is_confined(origin),
        below_root=isinstance(origin, Shapes) or origin.below_root,
        fetch=options.media.fetch,
        fetching=options.media.fetching,
        characters=options.max_characters,
    )


def _decoded(example: Example, row: int, options: MediaOptions) -> Example:
    """The example with its media decoded, which share the room of a row."""
    left = options.row_bytes

    def parts(undecoded: list[Part] | None) -> list[Part] | None:
        return None if undecoded is None else [decoded(part) for part in undecoded]

    def decoded(part: Part) -> Part:
        nonlocal left
        found = _decoded_part(part, row, _within(left, options))
        left -= media.size(found)
        if left < 0:
            reason = f"The media of the row take more than {options.row_bytes} bytes decoded (data.media.row_bytes)."
            raise BadRow(str(row), part["column"], reason)
        return found

    messages = [{**message, "content": parts(message["content"])} for message in example.messages]
    changed = {"messages": messages}
    if isinstance(example, Ranking):
        changed |= {"ranked": list(map(parts, example.ranked))}
    elif isinstance(example, Preference):
        changed |= {"chosen": parts(example.chosen), "rejected": parts(example.rejected)}
    elif example.responses:
        changed |= {"response": parts(example.responses[0])}
    if isinstance(example, Feedback):
        changed |= {"refinement": tuple(map(parts, example.refinement))}
    return replace(example, **changed)


def _within(left: int, options: MediaOptions) -> MediaOptions:
    """The options for a medium that may take so many bytes; a picture takes four for each pixel."""
    if left // 4 >= options.image.max_pixels:
        return options
    return replace(options, image=replace(options.image, max_pixels=max(1, left // 4)))


def _decoded_part(part: Part, row: int, options: MediaOptions) -> Part:
    try:
        return media.decode(part, options)
    except media.MediaError as error:
        raise BadRow(str(row), part["column"], str(error)) from error
