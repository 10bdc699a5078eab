"""Every family that can be built offline, and how a build becomes a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from aa_lightning.models.tiny import (
    chameleon,
    emu3,
    gemma,
    hearing,
    idefics,
    internvl,
    janus,
    llama_vision,
    llava,
    llava_video,
    mistral3,
    omni,
    qwen_vl,
    speech,
    stable_diffusion,
    text,
    towers,
)
from aa_lightning.models.tiny.backbone import TextSizes, VisionSizes


@dataclasses.dataclass(frozen=True)
class TinyFamily:
    """Recipe of one family: the sizes it takes, and the parts that together are its folder."""

    sizes: type
    make: Callable[[Any], Sequence[Any]]


FAMILIES: dict[str, TinyFamily] = {
    "llama": TinyFamily(TextSizes, text.llama),
    "qwen2": TinyFamily(TextSizes, text.qwen2),
    "qwen3": TinyFamily(TextSizes, text.qwen3),
    "qwen3_moe": TinyFamily(TextSizes, text.qwen3_moe),
    "mistral": TinyFamily(TextSizes, text.mistral),
    "phi3": TinyFamily(TextSizes, text.phi3),
    "gemma": TinyFamily(TextSizes, gemma.gemma),
    "gemma2": TinyFamily(TextSizes, gemma.gemma2),
    "gemma3_text": TinyFamily(TextSizes, gemma.gemma3_text),
    "llava": TinyFamily(VisionSizes, llava.llava),
    "llava_next": TinyFamily(VisionSizes, llava.llava_next),
    "llava_onevision": TinyFamily(VisionSizes, llava.llava_onevision),
    "qwen2_vl": TinyFamily(VisionSizes, qwen_vl.qwen2_vl),
    "qwen2_5_vl": TinyFamily(VisionSizes, qwen_vl.qwen2_5_vl),
    "qwen3_vl": TinyFamily(VisionSizes, qwen_vl.qwen3_vl),
    "mllama": TinyFamily(VisionSizes, llama_vision.mllama),
    "gemma3": TinyFamily(VisionSizes, gemma.gemma3),
    "idefics3": TinyFamily(VisionSizes, idefics.idefics3),
    "smolvlm": TinyFamily(VisionSizes, idefics.smolvlm),
    "internvl": TinyFamily(VisionSizes, internvl.internvl),
    "mistral3": TinyFamily(mistral3.Mistral3Sizes, mistral3.mistral3),
    "llava_next_video": TinyFamily(VisionSizes, llava_video.llava_next_video),
    "video_llava": TinyFamily(VisionSizes, llava_video.video_llava),
    "emu3": TinyFamily(emu3.Emu3Sizes, emu3.emu3),
    "chameleon": TinyFamily(chameleon.ChameleonSizes, chameleon.chameleon),
    "janus": TinyFamily(janus.JanusSizes, janus.janus),
    "qwen2_audio": TinyFamily(hearing.AudioSizes, hearing.qwen2_audio),
    "audioflamingo3": TinyFamily(hearing.AudioSizes, hearing.audioflamingo3),
    "qwen2_5_omni": TinyFamily(omni.OmniSizes, omni.qwen2_5_omni),
    "qwen3_omni": TinyFamily(omni.ExpertSizes, omni.qwen3_omni),
    "qwen2_5_omni_speech": TinyFamily(speech.SpeechSizes, speech.qwen2_5_omni_speech),
    "qwen3_omni_speech": TinyFamily(speech.ExpertSpeechSizes, speech.qwen3_omni_speech),
    "clip": TinyFamily(VisionSizes, towers.clip),
    "siglip": TinyFamily(VisionSizes, towers.siglip),
    "whisper": TinyFamily(hearing.AudioSizes, towers.whisper),
    "stable_diffusion": TinyFamily(stable_diffusion.StableDiffusionSizes, stable_diffusion.stable_diffusion),
}


def build(family: str, folder: Path, seed: int = 0, **sizes: Any) -> None:
    """Build a family offline and save it as a folder that the Auto classes load.

    The same family, sizes and seed give the same bytes.

    Args:
        family: a key of `FAMILIES`.
        folder: where model, processor and generation config are saved.
        seed: of the weights.
        sizes: what differs from the defaults of the family's sizes.

    Raises:
        ValueError: the family is unknown, or a size is not one of the family's.
    """
    row = _row(family)
    chosen = _sizes(family, row.sizes, sizes)
    with torch.random.fork_rng(devices=[]), _one_thread(), _every_process_writes():
        torch.manual_seed(seed)
        for part in row.make(chosen):
            part.save_pretrained(folder)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Operations this small gain nothing from a second thread, and wait for it where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _every_process_writes() -> Iterator[None]:
    """transformers writes a model on the first process alone, and here each process builds in a folder of its own."""
    alone = PreTrainedModel.should_save_on_this_rank
    PreTrainedModel.should_save_on_this_rank = lambda model, is_main_process: is_main_process
    try:
        yield
    finally:
        PreTrainedModel.should_save_on_this_rank = alone


def _row(family: str) -> TinyFamily:
    if family not in FAMILIES:
        raise ValueError(
            f"tiny:{family} cannot be built: no offline build is known for it. "
            f"Type one of {', '.join(f'tiny:{known}' for known in FAMILIES)}"
        )
    return FAMILIES[family]


def _sizes(family: str, kind: type, given: dict[str, Any]) -> Any:
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(f"tiny {family} has no size named {', '.join(unknown)}. Its sizes are {', '.join(known)}")
    return kind(**given)
