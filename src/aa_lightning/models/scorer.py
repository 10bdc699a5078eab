"""Reward models: one number for a response, read from the hidden state of its last token."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aa_lightning.models.adapters import Adapters
from aa_lightning.models.autoregressive import TokenNetwork, take_weights
from aa_lightning.models.encoding import TokenEncoder
from aa_lightning.models.weights import below
from aa_lightning.types import Batch

HEAD_FILE = "score.safetensors"


class ScoringNetwork(nn.Module):
    """A backbone with a linear head, read at the last token of each response, never at padding."""

    def __init__(self, network: TokenNetwork):
        super().__init__()
        self.network = network
        width = network.model.config.get_text_config().hidden_size
        self.head = nn.Linear(width, 1, bias=False)
        nn.init.normal_(self.head.weight, std=1 / (width + 1))
        if not _tied(network.model):
            network.model.get_output_embeddings().requires_grad_(False)  # never used here

    def forward(self, batch: Batch) -> Tensor:
        """(P, K) rewards."""
        hidden, layout = self.network.hidden(batch)
        last = (batch.response["mask"].sum(-1).long() - 1).clamp(min=0)  # a companion row has no token
        rows = layout.rows.gather(-1, last[..., None])[..., 0]
        columns = layout.own.gather(-1, last[..., None])[..., 0]
        states = hidden[rows, columns].to(self.head.weight.dtype)
        scores = self.head(states)[..., 0].float()
        return scores[: len(batch)] + self.network.idle(hidden, batch)


class Scorer(nn.Module):
    """A trainable reward model over token responses.

    Args:
        network: the backbone.
        encoder: of its batches.
        head: (1, width) to start from; None: random.
        adapters: those in the backbone, where there are any; the head trains beside them.
    """

    def __init__(
        self,
        network: TokenNetwork,
        encoder: TokenEncoder,
        head: Tensor | None = None,
        adapters: Adapters | None = None,
    ):
        super().__init__()
        self.network, self.encoder, self.adapters = ScoringNetwork(network), encoder, adapters
        if head is not None:
            with torch.no_grad():
                self.network.head.weight.copy_(head)

    def reference_modules(self) -> list[nn.Module]:
        """A reward model is compared with nothing."""
        return []

    def prepare(self, batch: Batch) -> Batch:
        """Nothing is random in a reward."""
        return batch

    def score(self, batch: Batch) -> Tensor:
        """(P, K) rewards of complete responses."""
        return self.network(batch)

    def save(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write the whole model (adapters merged), with the scalar head beside it, and the processor.

        Args:
            weights: gathered weights by this module's names, where a strategy sharded them; None: its own.
        """
        own = below("network.network.model.", weights)
        if self.adapters is None:
            self.network.network.model.save_pretrained(folder, state_dict=own)
        else:
            self.adapters.save_merged(folder, own)
        head = self.network.head.weight if weights is None else weights["network.head.weight"]
        save_file({"score.weight": head.detach().cpu().contiguous()}, folder / HEAD_FILE)
        self.encoder.processor.save_pretrained(folder)

    def restore(self, folder: Path) -> None:
        """Take the weights that `save` wrote."""
        if self.adapters is None:
            take_weights(self.network.network.model, folder)
        else:
            self.adapters.load(folder)
        head = saved_head(str(folder))
        assert head is not None, folder
        with torch.no_grad():
            self.network.head.weight.copy_(head)


def saved_head(path: str) -> Tensor | None:
    """The head that lies beside a backbone, if one does."""
    file = Path(path) / HEAD_FILE
    return load_file(file)["score.weight"] if file.is_file() else None


def _tied(model: nn.Module) -> bool:
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight
