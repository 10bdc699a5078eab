"""A conversation with a model, with media from files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aa_lightning import media
from aa_lightning.media import MediaOptions
from aa_lightning.system.shown import printable
from aa_lightning.types import SAMPLING, Sampling

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aa_lightning.types import Message, Response


class Chat:
    """A conversation with a policy.

        chat = Chat.of(compose(["run=outputs/…"], "generate"))
        chat.ask("What colour is the circle?", images=["photo.png"])

    Args:
        policy: any policy.
        system: a system message, or None.
        n: responses drawn for each prompt; the first one goes on in the conversation.
        sampling: how they are drawn.
        media_options: which frames of a video are read, and the limits of media; None: the usual ones.
    """

    def __init__(
        self,
        policy: Any,
        system: str | None = None,
        n: int = 1,
        sampling: Sampling = SAMPLING,
        media_options: MediaOptions | None = None,
    ):
        self.policy, self.n, self.sampling = policy, n, sampling
        self.media_options = media_options or MediaOptions()
        self.messages: list[Message] = []
        if system is not None:
            self.messages.append({"role": "system", "content": [{"type": "text", "text": system}]})

    @classmethod
    def of(cls, cfg: DictConfig) -> Chat:
        """The chat that a configuration composed from conf/generate.yaml describes, on the accelerator where there is one.

        Raises:
            ValueError: a modality that writes images, and a model that cannot make its codes pictures.
        """
        import torch
        from omegaconf import OmegaConf

        from aa_lightning.assembly.policy import build_chat_policy

        if lacks_decoder(cfg) and cfg.answers_in == "image":
            raise ValueError(
                f"modality={cfg.modality_name} writes images, and models of family {cfg.model.family} write them as "
                "codes for which their library has no decoder: type model.image_decoder=<package>.<module>.<Class> "
                "(docs/models.md), or modality=ti2t with the same model= for texts alone"
            )
        policy = build_chat_policy(cfg).to("cuda" if torch.cuda.is_available() else "cpu")
        sampling = Sampling(max_new_tokens=cfg.max_new_tokens, temperature=cfg.temperature)
        limits = MediaOptions(**OmegaConf.to_container(cfg.data.media, resolve=True))
        return cls(policy, cfg.system, cfg.n, sampling, limits)

    def ask(
        self,
        prompt: str,
        images: Sequence[str | Path] = (),
        sounds: Sequence[str | Path] = (),
        videos: Sequence[str | Path] = (),
    ) -> list[Response]:
        """The responses to a prompt, which becomes part of the conversation; media stand in front of it.

        Raises:
            MediaError: a file that cannot be read.
        """
        import torch

        from aa_lightning.types import Prompt

        given = {"image": images, "audio": sounds, "video": videos}
        undecoded = [{"type": kind, kind: str(file)} for kind, files in given.items() for file in files]
        parts = [media.decode(part, self.media_options) for part in undecoded]
        self.messages.append({"role": "user", "content": [*parts, {"type": "text", "text": prompt}]})
        asked = Prompt(id="prompt", messages=self.messages)
        batch = self.policy.encoder.collate([self.policy.encoder.encode(asked, [])])
        device = next(self.policy.parameters()).device
        with torch.no_grad():
            responses = self.policy.sample(batch.to(device), self.n, self.sampling).responses[0]
        self.messages.append({"role": "assistant", "content": responses[0]})
        return responses


def show(responses: list[Response], folder: Path) -> None:
    """Print texts, and write media into files that were not there before."""
    for number, response in enumerate(responses):
        for part in response:
            told = part["text"] if part["type"] == "text" else media.save(part, _unused(folder, f"response_{number}"))
            print(printable(told))


def _unused(folder: Path, name: str) -> Path:
    """A stem that no file has: earlier turns, and earlier parts of the response, keep theirs."""
    taken = {file.stem for file in folder.glob(f"{name}*")}
    return folder / next(stem for stem in chain([name], (f"{name}_{i}" for i in count(2))) if stem not in taken)


def lacks_decoder(cfg: DictConfig) -> bool:
    """Tell whether the model writes images as codes that nothing makes pictures."""
    from aa_lightning.models.families.offer import offer_of

    return not offer_of(cfg.model).draws
