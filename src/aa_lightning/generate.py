"""python -m aa_lightning.generate: talk to a model, with media files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aa_lightning.assembly.chat import Chat, lacks_decoder, show
from aa_lightning.launch.command import command
from aa_lightning.launch.job import run_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("generate", reads="run", words=("prompt", "system"), files=("image", "audio", "video"))
def main(cfg: DictConfig) -> None:
    """
    Ask a model, with pictures, sounds and videos from files; without a prompt, a conversation.

      python -m aa_lightning.generate run=outputs/<date>/<run> prompt="What colour is the circle?" image=photo.png
      python -m aa_lightning.generate run=outputs/<date>/<run> image=photo.png                a conversation
      python -m aa_lightning.generate run=outputs/<date>/<run> prompt="What is heard?" audio=call.wav video=clip.mp4
      python -m aa_lightning.generate modality=t2i run=outputs/<date>/<run> prompt="a red circle" n=4
    """
    from aa_lightning.system.console import quiet

    quiet()
    chat = Chat.of(cfg)
    if lacks_decoder(cfg):
        print(
            "(this model can only write text; to generate images, set model.image_decoder=<package>.<module>.<Class>)"
        )
    if cfg.prompt is not None:
        show(chat.ask(cfg.prompt, **_files(cfg)), run_folder())
        return
    _converse(chat, _files(cfg), run_folder())


def _files(cfg: DictConfig) -> dict[str, list[str]]:
    """The files typed as image=, audio= and video=, as arguments of `Chat.ask`."""
    given = {"images": cfg.image, "sounds": cfg.audio, "videos": cfg.video}
    return {name: [files] if isinstance(files, str) else list(files or []) for name, files in given.items()}


def _converse(chat: Chat, files: dict[str, list[str]], folder: Path) -> None:
    print("(an empty line or Ctrl-D ends the conversation)")
    for line in iter(_line, ""):
        show(chat.ask(line, **files), folder)
        files = {}


def _line() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""


if __name__ == "__main__":
    main()
