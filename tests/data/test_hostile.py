"""More than 200 hostile files: each is loaded right or refused by name, quickly, and never takes the process along."""

import resource
import time

import numpy as np
import pytest

import aa_lightning  # noqa: F401
from aa_lightning import media
from aa_lightning.media import MediaError

from .hostile_files import cases

CASES = cases()
SLOW = 3.0  # seconds on a busy machine; alone the slowest takes less than one
MEMORY = 400 * 2**10  # KiB


def test_there_are_more_than_two_hundred_of_all_media():
    assert len(CASES) > 200 and len({name for name, *_ in CASES}) == len(CASES)
    for medium in media.MEDIA:
        assert sum(case[1] == medium for case in CASES) > 50


@pytest.mark.parametrize(("medium", "content", "must"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_hostile_file_is_loaded_right_or_refused_by_name(medium, content, must, tmp_path):
    """From bytes, and from a file whose name lies about what it is; both in the same way."""
    path = tmp_path / {"image": "x.jpg", "audio": "x.mp3", "video": "x.mp4"}[medium]
    path.write_bytes(content)
    start, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = [_outcome(medium, value) for value in (content, path)]
    assert time.perf_counter() - start < 2 * SLOW
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < MEMORY
    assert outcomes[0] == outcomes[1]
    assert must == "either" or outcomes[0] == must


def _outcome(medium, value):
    try:
        decoded = media.decode({"type": medium, medium: value})[medium]
    except MediaError as error:
        assert str(error).endswith((".", ")")) and 20 < len(str(error)) < 600
        return "refused"
    _check(medium, decoded)
    return "loads"


def _check(medium, decoded):
    """What every decoded medium is, whatever it came from."""
    if medium == "image":
        assert decoded.mode == "RGB" and 0 < decoded.width * decoded.height <= 50_000_000
    elif medium == "audio":
        assert decoded.samples.dtype == np.float32 and decoded.samples.ndim == 1 and len(decoded.samples) > 1
        assert np.isfinite(decoded.samples).all() and 1_000 <= decoded.rate <= 768_000
    else:
        assert decoded.frames.dtype == np.uint8 and decoded.frames.shape[3] == 3 and decoded.frames.size > 0
        assert len(decoded.times) == len(decoded.frames) <= 32 and (np.diff(decoded.times) >= 0).all()
