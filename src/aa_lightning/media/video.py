"""Clips: from whatever a data set stores to upright RGB frames at known times, with the sound track on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from aa_lightning.media import audio, guard, image, storage
from aa_lightning.media.errors import MediaError
from aa_lightning.media.options import GuardOptions, ImageOptions, VideoOptions

if TYPE_CHECKING:
    import av

    from aa_lightning.media.audio import Sound

PICTURE_FILES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
FPS = 24.0  # of frames that come without times, where all frames are read; else they are taken for those to read
_PICTURES = ["GIF", "WEBP", "PNG", "JPEG", "BMP"]  # moving or not
_ANIMATED = {"GIF", "WEBP", "PNG"}
_MOST_ANIMATED = 5_000  # frames of an animated picture, which has to be decoded as a whole
_SEEK = 2.0  # seconds: a nearer frame is reached by decoding what lies before it
_DEFAULTS, _GUARD = VideoOptions(), GuardOptions()


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames, uint8 (T, H, W, 3), when each is shown, float64 (T,) seconds, and the sound track where it was read."""

    frames: np.ndarray
    times: np.ndarray
    sound: Sound | None = None

    @property
    def fps(self) -> float:
        """The mean rate of the frames that are there; 1 where there is a single instant."""
        span = float(self.times[-1] - self.times[0])
        return (len(self.times) - 1) / span if span > 0 else 1.0


def decode(value: Any, options: VideoOptions = _DEFAULTS, limits: GuardOptions = _GUARD) -> Clip:
    """Frames of a clip, chosen by `options`.

    Args:
        value: the bytes of a file, a path, a folder of pictures, a hub struct `{"bytes", "path"}`, `Base64`, `Url`, an
            animated picture, frames as an array (T, height, width, 1 | 3) or as a list of pictures, such frames with
            their rate `{"frames", "fps"}`, a `Clip`, or a function without arguments that returns one of these.
        options: which frames, and the limits.
        limits: of the guarded process, which decodes every file.

    Raises:
        MediaError: the value is no clip, has no frame, or is too large or too long.
    """
    if isinstance(value, Clip):
        return _chosen(value, options)
    if isinstance(value, Callable):
        return decode(value(), options, limits)
    if _is_frames(value):
        return _of_frames(value, options, limits)
    if _is_folder(value):
        return _of_frames(_files_in(Path(value)), options, limits)
    found, origin = storage.locate(value, "video", options.max_bytes), storage.origin(value)
    arrays = guard.call(_arrays_of_file, found, options, origin, what=f"video{origin}", limits=limits)
    return Clip(arrays["frames"], arrays["times"], audio.of_arrays(arrays) if "samples" in arrays else None)


def check(value: Any) -> None:
    """Raise what is wrong with a value as far as it shows without decoding it.

    Raises:
        MediaError: there is nothing, or no such file.
    """
    if _is_folder(value):
        _files_in(Path(value))
    elif not _is_frames(value) and not isinstance(value, Clip | Callable):
        storage.check(value, "video")


def sampled(clip: Clip, frames: int) -> Clip:
    """A given number of frames, spread uniformly; the times stay true. Of fewer frames, some are repeated."""
    return _taken(clip, _spread(clip.times, frames))


def size(clip: Clip) -> int:
    """The bytes of a clip in memory, its sound track with it."""
    return clip.frames.nbytes + (0 if clip.sound is None else audio.size(clip.sound))


def save(clip: Clip, path: Path) -> None:
    """Write an animated picture without loss (WebP); the last frame is shown as long as the mean of the others."""
    durations = [*np.diff(clip.times), 1 / clip.fps]
    first, *rest = [Image.fromarray(frame) for frame in clip.frames]
    shown = [max(1, round(1000 * seconds)) for seconds in durations]
    first.save(path, "WEBP", save_all=True, append_images=rest, duration=shown, loop=0, lossless=True)


def _taken(clip: Clip, rows: np.ndarray) -> Clip:
    return replace(clip, frames=clip.frames[rows], times=clip.times[rows])


def _spread(times: np.ndarray, count: int) -> np.ndarray:
    """Choose the frames that are shown at `count` uniform instants; by number where uneven times would repeat a frame."""
    rows = _shown_at(times, np.linspace(times[0], times[-1], count))
    if len(times) >= count and len(np.unique(rows)) < count:
        rows = np.linspace(0, len(times) - 1, count).round().astype(int)
    return rows


def _shown_at(times: np.ndarray, instants: np.ndarray) -> np.ndarray:
    """The frame that is shown at each instant: the last one that is not later (to a ten-thousandth of a second)."""
    return np.searchsorted(times, instants + 1e-4, side="right").clip(1) - 1


def _choice(times: np.ndarray, options: VideoOptions) -> np.ndarray:
    """Choose the frames that the options ask for."""
    rows = np.arange(len(times))
    if options.fps is not None:
        rows = np.unique(_shown_at(times, np.arange(times[0], times[-1] + 1e-4, 1 / options.fps)))
    if len(rows) > options.max_frames:
        rows = rows[_spread(times[rows], options.max_frames)]
    return rows


def _chosen(clip: Clip, options: VideoOptions) -> Clip:
    frames, times = clip.frames, clip.times
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise MediaError(
            f"Frames of shape {frames.shape} and type {frames.dtype} are no video: give uint8 (T, H, W, 3)."
        )
    if len(times) != len(frames) or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise MediaError(f"{len(frames)} frames need as many times in order, and there are {len(times)}.")
    _check_limits(frames.shape[2], frames.shape[1], times[-1] - times[0], options)
    return _taken(clip if options.audio else replace(clip, sound=None), _choice(times, options))


def _check_limits(width: int, height: int, seconds: float, options: VideoOptions) -> None:
    if width * height > options.max_pixels:
        raise MediaError(f"The video has frames of {width} x {height} pixels; the limit is {options.max_pixels}.")
    if width * height == 0:
        raise MediaError(f"The video's frames are empty: {width} x {height} pixels.")
    if seconds > options.max_seconds:
        raise MediaError(f"The video lasts {seconds:.1f} s; the limit is {options.max_seconds} s.")


# ---------------------------------------------------------------- frames in memory, folders, animations


def _is_frames(value: Any) -> bool:
    return isinstance(value, np.ndarray | list | tuple) or (isinstance(value, Mapping) and "frames" in value)


def _is_folder(value: Any) -> bool:
    if not isinstance(value, str | Path) or not 0 < len(str(value)) < 1000 or "\0" in str(value):
        return False
    try:
        return Path(value).is_dir()
    except OSError:  # a name that is too long
        return False


def _files_in(folder: Path) -> list[Path]:
    with storage.readable("video"):
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_FILES)
    if not files:
        raise MediaError(f"The folder {str(folder)!r} has no frames ({', '.join(sorted(PICTURE_FILES))}).")
    return files


def _of_frames(value: Any, options: VideoOptions, limits: GuardOptions) -> Clip:
    given = value if isinstance(value, Mapping) else {"frames": value}
    frames, fps = given["frames"], given.get("fps") or options.fps or FPS
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1e4:
        raise MediaError(f"The frames come with fps={fps!r}; it must be a number above 0.")
    if not isinstance(frames, np.ndarray | list | tuple):
        raise MediaError(
            f"The video's frames are a list of images, and a value of type {type(frames).__name__} was found."
        )
    if len(frames) == 0:
        raise MediaError("The video has no frames.")
    times = np.arange(len(frames)) / fps
    _check_limits(1, 1, times[-1], options)
    rows = _choice(times, options)
    return Clip(_stacked((frames[row] for row in rows), options, limits), times[rows])


def _stacked(frames: Iterable[Any], options: VideoOptions, limits: GuardOptions = _GUARD) -> np.ndarray:
    """Pictures of any kind as one array; all get the size of the first. One at a time is held in its own."""
    single, size, fitting = ImageOptions(max_pixels=options.max_pixels), None, []
    for frame in frames:
        picture = image.decode(frame, single, limits)
        size = size or _fitting(*picture.size, options)
        fitting.append(np.asarray(picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR)))
    return np.stack(fitting)


def _fitting(width: int, height: int, options: VideoOptions) -> tuple[int, int]:
    shrink = min(1.0, options.longest_side / max(width, height))
    return max(1, round(width * shrink)), max(1, round(height * shrink))


def _of_animation(found: bytes | Path, options: VideoOptions) -> Clip | None:
    """The frames of a picture, animated or not; None where the file is none."""
    with storage.stream(found) as file, image.readable("video"):
        opened = _picture(file)
        if opened is None:
            return None
        _check_limits(*opened.size, 0, options)
        times = np.array(list(_starts(opened, options)))
        rows = _choice(times, options)
        return Clip(_stacked((_frame(opened, int(row)) for row in rows), options), times[rows])


def _frame(animation: Image.Image, number: int) -> Image.Image:
    animation.seek(number)
    return animation.convert("RGBA")


def _picture(file: BinaryIO) -> Image.Image | None:
    try:
        return Image.open(file, formats=_PICTURES)
    except image.BROKEN_FILE:
        return None


def _starts(animation: Image.Image, options: VideoOptions) -> Iterator[float]:
    """When each frame starts, in seconds."""
    now = 0.0
    count = animation.n_frames if animation.format in _ANIMATED else 1
    if count > _MOST_ANIMATED:
        raise MediaError(f"The animation has {count} frames; the limit is {_MOST_ANIMATED}.")
    if (pixels := count * animation.width * animation.height) > options.max_animated_pixels:
        raise MediaError(
            f"The animation has {count} frames with {pixels} pixels in all; the limit is {options.max_animated_pixels} "
            "(data.media.video.max_animated_pixels)."
        )
    for number in range(count):
        animation.seek(number)
        animation.load()  # WebP tells how long a frame lasts only then
        yield now
        now += animation.info.get("duration", 0) / 1000 or 1 / FPS
        _check_limits(1, 1, now, options)


# ---------------------------------------------------------------- files, in the guarded process


def _arrays_of_file(found: bytes | Path, options: VideoOptions, origin: str) -> guard.Arrays:
    """The frames of a file of any kind, their times, and the sound track where it is wanted."""
    animated = _of_animation(found, options)
    clip = animated or _of_file(found, options, origin)
    track = _sound_of(found, options, origin) if options.audio and animated is None else {}
    return {"frames": clip.frames, "times": clip.times, **track}


def _of_file(found: bytes | Path, options: VideoOptions, origin: str) -> Clip:
    from aa_lightning.media import container

    with container.opened(found, "video", origin) as file:
        stream = container.track(file, "video", origin)
        _check_limits(stream.width, stream.height, float(file.duration or 0) / 1e6, options)
        times, keys = _schedule(file, stream)
        if not len(times):
            raise MediaError(f"The video{origin} has no frames.")
        _check_limits(1, 1, times[-1] - times[0], options)
        chosen = list(_frames_at(file, stream, times[_choice(times, options)], keys, options))
    if not chosen:
        raise MediaError(f"No frame of the video{origin} can be decoded.")
    shown, frames = zip(*chosen, strict=True)
    size = frames[0].shape
    if any(frame.shape != size for frame in frames):
        frames = list(_stacked(frames, options))
    return Clip(np.stack(frames), np.array(shown) - times[0])


def _schedule(file: av.container.InputContainer, stream: av.VideoStream) -> tuple[np.ndarray, np.ndarray]:
    """When each frame is shown and when the key frames are, in seconds, without decoding."""
    base, shown, keys = stream.time_base, [], []
    for number, packet in enumerate(file.demux(stream)):
        if packet.size:
            pts = packet.pts if packet.pts is not None else packet.dts
            time = float(pts * base) if pts is not None else number / float(stream.average_rate or FPS)
            shown.append(time)
            keys += [time] if packet.is_keyframe else []
    return np.array(sorted(shown)), np.array(sorted(keys))


def _frames_at(
    file: av.container.InputContainer,
    stream: av.VideoStream,
    wanted: np.ndarray,
    keys: np.ndarray,
    options: VideoOptions,
) -> Iterator[tuple[float, np.ndarray]]:
    """The decoded frames at the wanted times; what lies between is skipped from key frame to key frame."""
    file.seek(0)
    now, left = -np.inf, list(wanted)
    frames = file.decode(stream)
    while left:
        ahead = keys[(keys > now + _SEEK) & (keys <= left[0])] if now > -np.inf else keys[:0]
        if len(ahead):
            file.seek(int(ahead[-1] / stream.time_base), stream=stream)
            frames = file.decode(stream)
        frame = next((f for f in frames if _time(f, now, stream) >= left[0] - 1e-6), None)
        if frame is None:
            return
        now = _time(frame, now, stream)
        yield now, _upright(frame, options)
        left = [time for time in left if time > now + 1e-6]


def _time(frame: av.VideoFrame, before: float, stream: av.VideoStream) -> float:
    if frame.time is not None:
        return frame.time
    return max(before, 0.0) + 1 / float(stream.average_rate or FPS)


def _upright(frame: av.VideoFrame, options: VideoOptions) -> np.ndarray:
    """RGB, scaled to the limit, turned as the file says."""
    width, height = _fitting(frame.width, frame.height, options)
    pixels = frame.to_ndarray(width=width, height=height, format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _sound_of(found: bytes | Path, options: VideoOptions, origin: str) -> guard.Arrays:
    from aa_lightning.media import container

    with container.opened(found, "video", origin) as file:
        if not file.streams.audio:
            return {}
    return audio.arrays_of_file(found, options.track, origin)
