"""One row of the table of families: what a family of token models needs, in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor, nn

    from aa_lightning.models.families.towers import Tower

_USUAL_KEYS = {"image": ("pixel_values",), "video": ("pixel_values_videos",), "audio": ("input_features",)}
LAST = "last"  # a per-token key that grows by repeating its last entry


@dataclass(frozen=True)
class Family:
    """The quirks of one family of token models.

    Attributes:
        groups: freeze groups, as regular expressions on in-memory parameter names.
        media: what its prompts may hold besides text.
        writes: what its responses may hold.
        per_token: keys with one entry per token (besides input_ids and attention_mask), and what a response token gets:
            a number, or LAST for the entry of the prompt's last token. Padding gets the number, or 0.
        per_prompt: media keys with one row per prompt, zeros where a prompt has no medium. All others hold the media of
            all prompts one after another.
        required: for each medium, the keys without which the model silently reads noise, where they are not the usual ones.
        tokens: the processor's attributes that name the tokens which stand for media in a prompt, where they are not
            `<medium>_token`.
        unused: parameters that can never get a gradient, given the configuration; they are frozen, or ranks would
            wait for each other.
        rope: prompt tensors → arguments of the model's `get_rope_index`, where a prompt with media counts in time,
            height and width.
        frames: how many frames a clip gets, where clips of a batch must be equally long; None: those that it has.
        fewest_frames: of a clip; the last one is repeated where there are fewer.
        fewest_rows: of pixels; a picture with fewer is stretched, since its processor would take rows for colours.
        grid_seconds: the key that says how many seconds each temporal patch of a clip lasts.
        arguments: what the processor is called with besides, for each kind of medium.
        reads_codes: whether a frozen model turns the pictures of prompts into tokens before this one reads them.
        overrides_clip_size: whether the processor class has a clip size of its own, above that of tiny models.
        longest_sound: where the processor says how many seconds of a sound it reads; it cuts off the rest in silence.
        sound_step: seconds; sounds are filled with silence up to a multiple of it, since the convolutions of the tower
            would otherwise see how far a batch is padded.
        most: how many of a medium one prompt may show.
        one_medium: whether a prompt may hold pictures or clips and not both, as its processor keeps only one of them.
        towers: media by the tower that reads them; (): one tower reads all.
        whole: the model type of larger checkpoints whose thinker this model is: they also speak.
        part: the model type that such a thinker has, or a model type that differs from the name.
        also: names of families whose models may have this shape.
        sees_ahead: the per-token key whose entries of 1 mark pictures that their tokens read in both directions.
        shares_prefix: whether several responses may share one prompt in a row.
        packs: whether several prompts may stand in one row.
        kept: towers whose output can be kept for each medium, by their names in the model. It is kept where all in them is
            frozen: a projector inside of a tower too.
        template: the chat template of checkpoints that bring none, as Jinja source.
        always: what the processor is called with for every prompt.
    """

    name: str
    groups: dict[str, str]
    media: tuple[str, ...] = ()
    writes: tuple[str, ...] = ("text",)
    per_token: dict[str, int | str] = field(default_factory=dict)
    per_prompt: tuple[str, ...] = ()
    required: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tokens: tuple[str, ...] = ()
    unused: Callable[[Any], str | None] = lambda config: None
    rope: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    frames: int | None = None
    fewest_frames: int = 1
    fewest_rows: int = 1
    grid_seconds: str | None = None
    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)
    reads_codes: bool = False
    overrides_clip_size: bool = False
    longest_sound: str | None = None
    sound_step: float | None = None
    most: dict[str, int] = field(default_factory=dict)
    one_medium: bool = False
    towers: tuple[tuple[str, ...], ...] = ()
    whole: str | None = None
    part: str | None = None
    also: tuple[str, ...] = ()
    sees_ahead: str | None = None
    shares_prefix: bool = True
    packs: bool = True
    kept: Mapping[str, Tower] = field(default_factory=dict)

    template: ClassVar[str | None] = None
    always: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The processor's attributes that name the tokens which stand for media in a prompt."""
        return self.tokens or tuple(f"{medium}_token" for medium in self.media)

    def keys_of(self, medium: str) -> tuple[str, ...]:
        """The keys without which the model silently reads noise in place of a medium."""
        return self.required.get(medium, _USUAL_KEYS[medium])

    def of_model(self, config: Any, lookup: Callable[[Any], Family]) -> Family:
        """Make the row of one model, where what it reads hangs on its parts.

        Args:
            config: of the model.
            lookup: gives the row of another configuration.
        """
        return self

    def forward(self, backbone: nn.Module, inputs: Mapping[str, Any]) -> Any:
        """Run a backbone on rows; its output has `last_hidden_state` (R, L, H)."""
        return backbone(**inputs)

    def parameters(self, group: str) -> re.Pattern[str]:
        """The pattern of a freeze group.

        Raises:
            ValueError: the family has no such group.
        """
        if group not in self.groups:
            raise ValueError(
                f"family {self.name} has no parameter group {group!r}: "
                f"use one of {', '.join(self.groups)}, e.g. model.freeze=[{next(iter(self.groups))}]"
            )
        return re.compile(self.groups[group])

    @property
    def padding(self) -> dict[str, int]:
        """Padding values of each per-token key."""
        return {key: 0 if value == LAST else int(value) for key, value in self.per_token.items()}
