"""Files with sound and moving pictures, opened by PyAV without ever following what they refer to.

Only the guarded process calls it (`guard.py`): whoever wrote a file decides what the decoders behind PyAV do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from aa_lightning.media import storage
from aa_lightning.media.errors import MediaError

if TYPE_CHECKING:
    import av

# containers that hold their media themselves; a playlist (hls, dash, concat) would open other files and addresses
_FORMATS = (
    "mov,matroska,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,wav,w64,mp3,aac,flac,aiff,au,caf,amr,gif,apng,h264,hevc,m4v,rm,"
    "mxf,nut,ivf,dv,swf,wv,ape,tta,ac3,eac3,dts,obu"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}
_THREADS = 4  # each holds frames


@contextmanager
def opened(found: bytes | Path, noun: str, origin: str = "") -> Iterator[av.container.InputContainer]:
    """A file opened for reading; whatever is wrong with it, then or later, becomes a MediaError."""
    try:
        import av
    except ImportError as error:
        raise MediaError(f"This kind of {noun} is read by av: pip install 'aa-lightning[video]'") from error
    try:
        with (
            storage.stream(found) as stream,
            av.open(stream, options=_OPTIONS, metadata_errors="ignore") as file,
        ):
            yield file
    except (MediaError, MemoryError):
        raise
    except (av.FFmpegError, ValueError, OSError, IndexError, ArithmeticError) as error:
        raise MediaError(f"The bytes{origin} are no {noun} that can be decoded ({_reason(error)}).") from error


def track(file: av.container.InputContainer, kind: Literal["audio", "video"], origin: str = "") -> Any:
    """The first sound track, or the first track of pictures.

    Raises:
        MediaError: there is none, or it is in an unknown codec.
    """
    streams, noun = (file.streams.audio, "audio track") if kind == "audio" else (file.streams.video, "frames")
    if not streams:
        raise MediaError(f"The file{origin} has no {noun}.")
    if streams[0].codec_context is None:
        raise MediaError(f"The file{origin} has {noun} in a codec that is not known.")
    streams[0].codec_context.thread_count = min(_THREADS, os.cpu_count() or 1)
    return streams[0]


def sound_blocks(file: av.container.InputContainer) -> Iterator[np.ndarray]:
    """The first sound track as float32 blocks (N, channels).

    Channels are interleaved before anything reads them: a frame has eight planes at most, and channels have no such limit.
    """
    import av

    resampler = av.AudioResampler(format="flt")  # the layout and the rate stay
    for frame in file.decode(audio=0):
        for packed in resampler.resample(frame):
            yield packed.to_ndarray().reshape(-1, packed.layout.nb_channels)


def _reason(error: BaseException) -> str:
    """The words of ffmpeg, without its numbers and the name of a file that is none."""
    words = re.sub(r"^\[Errno -?\d+\] ", "", str(error)).split(": '")[0]
    return words[:120] or type(error).__name__
