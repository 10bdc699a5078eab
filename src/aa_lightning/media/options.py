"""Options of reading media, with their limits; the `media` key of the data group."""

from __future__ import annotations

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ImageOptions:
    """Limits of pictures."""

    max_pixels: int = Field(default=50_000_000, ge=1)
    max_bytes: int = Field(default=64 * 2**20, ge=1)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class AudioOptions:
    """Limits of sounds."""

    max_seconds: float = Field(default=600.0, gt=0)
    max_samples: int = Field(default=2**25, ge=2)  # decoded, of one channel
    max_bytes: int = Field(default=256 * 2**20, ge=1)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class VideoOptions:
    """Selection of the frames of a video that are read, and its limits.

    Frames are taken at `fps` (null: all of them); of more than `max_frames`, that many are chosen uniformly in time.
    """

    fps: float | None = Field(default=2.0, gt=0)
    max_frames: int = Field(default=32, ge=1)
    longest_side: int = Field(default=768, ge=16)  # pixels; larger frames are scaled down to it
    audio: bool = False  # read the audio track too
    track: AudioOptions = AudioOptions()  # limits of the sound track
    max_seconds: float = Field(default=3600.0, gt=0)
    max_pixels: int = Field(default=36_000_000, ge=1)  # of a frame
    max_animated_pixels: int = Field(default=10**9, ge=1)  # of all frames of an animated picture, decoded as a whole
    max_bytes: int = Field(default=2**31, ge=1)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class GuardOptions:
    """Limits of decoding one medium in the guarded process; the next medium has them anew."""

    seconds: float = Field(default=8.0, gt=0)  # of computing
    bytes: int = Field(default=400 * 2**20, ge=2**20)  # of memory


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class FetchOptions:
    """Limits of fetching one medium, redirections and all."""

    private: bool = False  # also from addresses of your own machine and network
    seconds: float = Field(default=30.0, gt=0)
    max_bytes: int = Field(default=2**27, ge=1)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class MediaOptions:
    """The options of every medium.

    Attributes:
        fetch: whether media are fetched from the http addresses that rows name.
    """

    row_bytes: int = Field(default=2**28, ge=1)  # of all media of a row, decoded
    fetch: bool = False
    fetching: FetchOptions = FetchOptions()
    guard: GuardOptions = GuardOptions()
    image: ImageOptions = ImageOptions()
    audio: AudioOptions = AudioOptions()
    video: VideoOptions = VideoOptions()
