"""Small files of every medium, made in memory."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import soundfile
from PIL import Image

RATE = 16_000


def tone(hertz: float = 440.0, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """A sine at half of full scale."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def sound_file(samples: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    """Samples (N,) or (N, channels) as a file that soundfile writes."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def greys(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Frames of one grey each: 10 levels lighter from frame to frame."""
    return [np.full((height, width, 3), 10 * i % 250, np.uint8) for i in range(count)]


def clip_file(
    frames: list[np.ndarray],
    fps: int = 8,
    kind: str = "mp4",
    codec: str = "mpeg4",
    sound: np.ndarray | None = None,
    times: list[int] | None = None,
    rotation: int = 0,
) -> bytes:
    """Frames as a file that PyAV writes.

    Args:
        sound: samples at 16 kHz for a sound track.
        times: when each frame is shown, in units of 1 / fps; None: one after another.
        rotation: degrees that a player turns the picture counter-clockwise.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as out:
        video = out.add_stream(codec, rate=fps)
        video.height, video.width = frames[0].shape[:2] if frames else (48, 64)
        video.pix_fmt = "yuv420p"
        audio = None if sound is None else out.add_stream("aac", rate=RATE)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = (number if times is None else times[number]), Fraction(1, fps)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            frame.rate = RATE
            out.mux(audio.encode(frame))
            out.mux(audio.encode())
    return turned(file.getvalue(), rotation)


def turned(mp4: bytes, degrees: int) -> bytes:
    """An mp4 whose header asks players to turn the picture counter-clockwise by a multiple of 90 degrees."""
    if degrees == 0:
        return mp4
    plain = np.array([[1 << 16, 0, 0], [0, 1 << 16, 0], [0, 0, 1 << 30]], ">i4")
    a, b = {90: (0, -1), 180: (-1, 0), 270: (0, 1)}[degrees]
    matrix = np.array([[a << 16, b << 16, 0], [-b << 16, a << 16, 0], [0, 0, 1 << 30]], ">i4")
    track = mp4.index(b"tkhd")
    at = mp4.index(plain.tobytes(), track)
    return mp4[:at] + matrix.tobytes() + mp4[at + 36 :]


def animation(frames: list[np.ndarray], kind: str = "GIF", milliseconds: list[int] | int = 100) -> bytes:
    """An animated picture."""
    first, *rest = [Image.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    lossless = {"lossless": True} if kind == "WEBP" else {}
    first.save(file, kind, save_all=True, append_images=rest, duration=milliseconds, loop=0, **lossless)
    return file.getvalue()
