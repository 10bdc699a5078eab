"""A model that writes pictures, made what trains: its VQ model taken out, its grammar, its encoder, its policy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from aa_lightning.configuration.schema import Model as ModelOptions
from aa_lightning.configuration.targets import named_object
from aa_lightning.models.families.family import Family
from aa_lightning.models.image_tokens.encoder import PictureEncoder
from aa_lightning.models.image_tokens.families import PICTURE_FAMILIES
from aa_lightning.models.image_tokens.grammar import Grammar
from aa_lightning.models.image_tokens.policy import PictureNetwork, PicturePolicy, PictureScorer
from aa_lightning.models.image_tokens.two_heads import SplitNetwork
from aa_lightning.models.image_tokens.vq import PictureTokenizer
from aa_lightning.models.lora import Adapters
from aa_lightning.models.reference import Reference
from aa_lightning.models.reward.scorer import Head
from aa_lightning.models.token.encoder import Limits
from aa_lightning.models.token.load import TextWriter

Decode = Callable[[nn.Module, Tensor], Tensor]
_DECODER = (
    "a class of torch modules that is made from the model's VQ model and gives pixels (1, 3, H, W), in the range of the "
    "image processor, for codes (1, h, w)"
)


class PictureWriter(TextWriter):
    """Makes policies and reward models of a model that writes pictures too.

    The VQ model is taken out of it, so that nothing which trains, saves or copies the model meets it.
    """

    def __init__(self, model: nn.Module, processor: Any, family: Family, options: ModelOptions, limits: Limits | None):
        super().__init__(model, processor, family, options, limits)
        quirks, self.spelling = PICTURE_FAMILIES[family.name], self.own_encoder.spelling
        vq, model.model.vqmodel = model.model.vqmodel, None
        self.beside = [vq]
        decode = self._decoder(vq, quirks.decode, options.image_decoder)
        encode = partial(quirks.encode, vq)
        self.pictures = PictureTokenizer(vq, self.spelling, encode, decode)
        self.kind, vocabulary = PictureNetwork, model.get_output_embeddings().out_features
        if quirks.own_head:
            self.kind, vocabulary = SplitNetwork, vocabulary + len(self.spelling.codes)
        size = drawn_size(
            options.image_size, quirks.size(processor, model.config), self.spelling.factor, quirks.own_head
        )
        self.grammar = Grammar(self.spelling, processor.tokenizer, size, vocabulary, draws=self.pictures.draws)

    @staticmethod
    def encoder(
        config: Any, processor: Any, family: Family, options: ModelOptions, limits: Limits | None
    ) -> PictureEncoder:
        """Make the encoder, without weights."""
        return PictureEncoder(processor, family, PICTURE_FAMILIES[family.name].spelling(processor, config), limits)

    def _decoder(self, vq: nn.Module, own: Decode | None, path: str | None) -> Callable[[Tensor], Tensor] | None:
        """Return what makes codes images: the family's own decoder, or the one that a user brings."""
        if path is None:
            return None if own is None else partial(own, vq)
        if own is not None:
            raise ValueError(
                f"model.image_decoder={path}: models of family {self.family.name} bring a decoder of their own. "
                "Type model.image_decoder=null"
            )
        return image_decoder(path, vq)

    def network(self, model: nn.Module) -> PictureNetwork:
        """Put the model into the (P, K) layout."""
        return self.kind(model, self.family, self.grammar, self.options.prefix_sharing)

    def policy(self, model: nn.Module, reference: Reference, adapters: Adapters | None) -> PicturePolicy:
        """Make the policy around the model."""
        return PicturePolicy(self.network(model), self.own_encoder, self.pictures, reference, adapters)

    def reward_model(self, model: nn.Module, head: Head, adapters: Adapters | None) -> PictureScorer:
        """Make a reward model around the model."""
        if self.kind is SplitNetwork:
            model.base_model.generation_head.requires_grad_(False)  # a reward model reads codes and writes none
        return PictureScorer(self.network(model), self.own_encoder, self.pictures, head, adapters)


def image_decoder(path: str, vq: nn.Module) -> nn.Module:
    """The decoder that `model.image_decoder` names, made from the VQ model whose codes it decodes.

    Raises:
        ValueError: nothing of this name can be imported, or it is no class of modules.
    """
    made = named_object("model.image_decoder", path, _DECODER, _is_module_class)
    return made(vq).requires_grad_(False).eval()


def _is_module_class(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, nn.Module)


def drawn_size(wanted: int | None, own: tuple[int, int], factor: int, only_own: bool) -> tuple[int, int]:
    """(height, width) in codes of what is drawn: square pictures of `model.image_size` pixels, or the model's own size.

    Args:
        wanted: `model.image_size`.
        own: in codes.
        factor: pixels per code.
        only_own: whether the model draws no other size.

    Raises:
        ValueError: a size that the model does not draw, or that is no multiple of what a code stands for.
    """
    if wanted is None:
        return own
    if only_own and wanted != own[0] * factor:
        raise ValueError(
            f"model.image_size={wanted} cannot be drawn: this model draws images of {own[0] * factor} × {own[0] * factor} "
            "pixels only. Type model.image_size=null"
        )
    if wanted % factor:
        raise ValueError(
            f"model.image_size={wanted} cannot be drawn: a code of this model stands for {factor} × {factor} pixels. "
            f"Type model.image_size={max(1, round(wanted / factor)) * factor}"
        )
    return wanted // factor, wanted // factor
