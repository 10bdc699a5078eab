"""Decoded media as the arguments of processors: pictures, sounds at the extractor's rate, frames with their times."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.video_utils import VideoMetadata

from aa_lightning.data.errors import BadRow
from aa_lightning.media.audio import Sound, resampled
from aa_lightning.media.video import Clip, sampled
from aa_lightning.models.families.family import Family

Media = dict[str, list[Any]]  # by kind, in the order in which a prompt shows them
_SIDE = 56  # pixels of a stand-in
_TICKS = 1000  # per second: the clock in which processors are told when a frame was taken


_SHORTEST = 0.1  # seconds: a shorter sound makes no token in some families


class TooLong(BadRow):
    """A prompt or response over the limit; `overlong=skip` drops these rows by name."""


def arguments(media: Media, family: Family, processor: Any) -> dict[str, Any]:
    """Arguments of a processor for the media of one prompt. Pictures and clips nest per prompt, sounds stay flat.

    Frames go with their true times: without them, processors assume 24 a second.
    """
    given: dict[str, Any] = dict(family.always)
    if "image" in media:
        given["images"] = [[tall_enough(picture, family.fewest_rows) for picture in media["image"]]]
        given["images_kwargs"] = family.arguments.get("images_kwargs", {})
    if "audio" in media:
        rate = processor.feature_extractor.sampling_rate
        given["audio"] = [_samples(sound, rate, family.sound_step) for sound in media["audio"]]
        given["sampling_rate"] = rate
    if "video" in media:
        given["videos"] = [[_tall_enough(clip.frames, family.fewest_rows) for clip in media["video"]]]
        given["video_metadata"] = [[_metadata(clip) for clip in media["video"]]]
        given["do_sample_frames"] = False
        size = _clip_size(processor) if family.overrides_clip_size else {}
        given["videos_kwargs"] = {**family.arguments.get("videos_kwargs", {}), **size}
    return given


def with_frames(media: Media, frames: int | None, fewest: int = 1) -> Media:
    """The same media, clips with as many frames as asked for; None: those that they have, the last one repeated where
    these are fewer than a family reads."""
    if "video" not in media:
        return media
    counts = [max(len(clip.frames), fewest) if frames is None else frames for clip in media["video"]]
    clips = zip(media["video"], counts, strict=True)
    return {**media, "video": [clip if len(clip.frames) == count else sampled(clip, count) for clip, count in clips]}


def tall_enough(picture: Image.Image, rows: int) -> Image.Image:
    """The picture, stretched to a number of rows where it has fewer."""
    return picture if picture.height >= rows else picture.resize((picture.width, rows), Image.Resampling.NEAREST)


def _tall_enough(frames: np.ndarray, rows: int) -> np.ndarray:
    """(T, H, W, 3) the same for frames."""
    height = frames.shape[1]
    return frames if height >= rows else frames[:, np.arange(rows) * height // rows]


def described(media: Media) -> str:
    """Media with their sizes, for errors."""
    return ", ".join(_described(kind, medium) for kind, found in media.items() for medium in found)


def _described(kind: str, medium: Any) -> str:
    if kind == "image":
        return f"an image of {medium.width} × {medium.height} pixels"
    if kind == "audio":
        return f"audio of {medium.seconds:.3g} s"
    count, height, width, _ = medium.frames.shape
    return f"a video of {count} frames of {width} × {height} pixels"


def seconds_per_grid(clips: list[Clip], processor: Any) -> Tensor:
    """(clips,) how long each temporal patch lasts. Some processors guess it."""
    return torch.tensor([processor.video_processor.temporal_patch_size / clip.fps for clip in clips])


def check(row: str, media: Media, family: Family, processor: Any) -> None:
    """Refuse media that the family would read in part only.

    Raises:
        ValueError: more of a medium than a prompt may show, or kinds that do not go together.
        TooLong: a sound longer than the window of the feature extractor.
    """
    for medium, most in family.most.items():
        count = len(media.get(medium, []))
        if count > most:
            raise ValueError(
                f"row {row} holds {count} parts of {medium}, and models of family {family.name} read {most} in a prompt: "
                "choose another model=, or data with fewer"
            )
    if family.one_medium and len(media) > 1:
        raise ValueError(
            f"row {row} holds {' and '.join(media)}, and the processor of family {family.name} keeps only one kind of "
            "medium in a prompt: choose another model=, such as model=qwen3_vl_2b_instruct, or data with one kind in each row"
        )
    longest = attrgetter(family.longest_sound)(processor) if family.longest_sound else float("inf")
    for sound in media.get("audio", []):
        seconds = len(sound.samples) / sound.rate
        if seconds > longest:
            raise TooLong(
                row,
                "audio",
                f"The audio lasts {seconds:.1f} s, and models of family {family.name} read {longest} s: shorten it, or set "
                "loader.overlong=skip.",
            )


def stand_in(medium: str, processor: Any, frames: int | None) -> dict[str, Any]:
    """A part without meaning: a black picture, two black frames, a fifth of a second of silence.

    Pictures and frames are of two by two tokens at the usual 28 pixels: Mistral 3's class fails on a batch of one token.
    """
    if medium == "image":
        return {"type": "image", "image": Image.new("RGB", (_SIDE, _SIDE))}
    if medium == "audio":
        rate = processor.feature_extractor.sampling_rate
        return {"type": "audio", "audio": Sound(np.zeros(rate // 5, np.float32), rate)}
    count = frames or 2
    return {"type": "video", "video": Clip(np.zeros((count, _SIDE, _SIDE, 3), np.uint8), np.arange(count) / 2.0, None)}


def _samples(sound: Sound, rate: int, step: float | None) -> np.ndarray:
    samples = resampled(sound, rate).samples
    samples = np.pad(samples, (0, max(0, round(_SHORTEST * rate) - len(samples))))  # with silence
    return samples if step is None else np.pad(samples, (0, -len(samples) % round(step * rate)))


def _clip_size(processor: Any) -> dict[str, Any]:
    """The size that the checkpoint's video processor asks for, where it is below the one of the processor class."""
    own, usual = processor.video_processor.size, processor.videos_kwargs["size"]
    return {"size": dict(own)} if own["longest_edge"] < usual["longest_edge"] else {}


def _metadata(clip: Clip) -> VideoMetadata:
    """Times in ticks; the mean rate of the frames that are there is `sampled_fps`."""
    count, height, width, _ = clip.frames.shape
    seconds = count / clip.fps
    return VideoMetadata(
        total_num_frames=round(seconds * _TICKS),
        fps=_TICKS,
        width=width,
        height=height,
        duration=seconds,
        frames_indices=[round(time * _TICKS) for time in clip.times],
    )
