"""Sounds come out mono, float and finite at their own rate, from whatever a data set stores; what is none says so."""

import base64
import io

import av
import numpy as np
import pytest

from aa_lightning import media
from aa_lightning.media import Base64, MediaError, audio
from aa_lightning.media.audio import Sound, decode, resampled, save
from aa_lightning.media.options import AudioOptions

from .media_files import RATE, clip_file, greys, sound_file, tone
from .rows import picture


def loudest_hertz(sound):
    """The frequency of the strongest component."""
    spectrum = np.abs(np.fft.rfft(sound.samples * np.hanning(len(sound.samples))))
    return np.argmax(spectrum) * sound.rate / len(sound.samples)


@pytest.fixture
def on_disk(tmp_path):
    path = tmp_path / "tone.wav"
    path.write_bytes(sound_file(tone()))
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda path: path,
        str,
        lambda path: path.read_bytes(),
        lambda path: {"bytes": path.read_bytes(), "path": "gone.wav"},
        lambda path: {"bytes": None, "path": str(path)},
        lambda path: {"array": tone(), "sampling_rate": RATE},
        lambda path: {"array": tone().tolist(), "sampling_rate": RATE, "path": None},
        lambda path: {"array": (tone() * 32768).round().astype(np.int16), "sampling_rate": RATE},
        lambda path: {"array": np.stack([tone(), tone()]), "sampling_rate": RATE},
        lambda path: {"array": np.stack([tone(), tone()], axis=1), "sampling_rate": float(RATE)},
        lambda path: Base64(base64.b64encode(path.read_bytes()).decode()),
        lambda path: Sound(tone(), RATE),
        lambda path: lambda: Sound(tone(), RATE),
    ],
)
def test_every_storage_gives_the_same_sound(wrap, on_disk):
    sound = decode(wrap(on_disk))
    assert sound.rate == RATE and sound.samples.dtype == np.float32 and sound.samples.shape == (RATE,)
    assert np.abs(sound.samples - tone()).max() < 1e-4
    media.check({"type": "audio", "audio": wrap(on_disk)})


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64"])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_every_format_keeps_rate_length_and_pitch(kind, rate):
    sound = decode(sound_file(tone(rate=rate), rate, kind))
    assert sound.rate == rate and sound.seconds == pytest.approx(1.0, abs=0.1)
    assert loudest_hertz(sound) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "MS_ADPCM"])
def test_every_encoding_of_wav_has_the_right_loudness(subtype):
    """A sine at half of full scale has a root mean square of 0.5 / sqrt(2) = 0.354."""
    sound = decode(sound_file(tone(), subtype=subtype))
    assert np.sqrt(np.mean(sound.samples**2)) == pytest.approx(0.354, abs=0.01)


def test_channels_are_averaged():
    """Left 0.2, right 0.6, and thirty silent ones: (0.2 + 0.6) / 32 = 0.025."""
    stereo = np.stack([np.full(100, 0.2), np.full(100, 0.6)], axis=1)
    assert decode(sound_file(stereo, subtype="FLOAT")).samples == pytest.approx(0.4)
    many = np.zeros((100, 32))
    many[:, :2] = [0.2, 0.6]
    assert decode(sound_file(many, subtype="FLOAT")).samples == pytest.approx(0.025)


def test_the_sound_track_of_a_video_is_a_sound():
    sound = decode(clip_file(greys(8), sound=tone()))
    assert sound.rate == RATE and sound.seconds == pytest.approx(1.0, abs=0.1)
    assert loudest_hertz(sound) == pytest.approx(440, abs=2)


def test_resampling_keeps_what_the_rate_can_hold_and_lets_nothing_alias():
    """6 kHz cannot be held at 8 kHz (Nyquist 4 kHz); plain decimation would turn it into a tone of 2 kHz."""
    kept = resampled(Sound(tone(440), RATE), 8_000)
    assert kept.rate == 8_000 and len(kept.samples) == 8_000 and kept.samples.dtype == np.float32
    assert loudest_hertz(kept) == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(kept.samples**2)) == pytest.approx(0.354, abs=0.01)
    gone = resampled(Sound(tone(6_000), RATE), 8_000)
    assert np.abs(gone.samples[500:-500]).max() < 0.005
    same = Sound(tone(), RATE)
    assert resampled(same, RATE) is same


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, r"There is no audio \(null\)"),
        (b"", "The audio has no bytes"),
        (b"not a sound", r"no audio that can be decoded \(Invalid data found when processing input\)"),
        (picture(), "no audio that can be decoded|no audio track"),
        (sound_file(tone())[:20], "no audio that can be decoded"),
        ("gone.wav", "There is no audio file 'gone.wav'"),
        ({"bytes": None, "path": None}, "neither bytes nor a path"),
        (42, "value of type int"),
        (tone(), "An array of samples has no rate: give {array: ..., sampling_rate: ...}"),
        ({"array": tone(), "sampling_rate": None}, "sampling rate is None"),
        ({"array": tone(), "sampling_rate": 0}, "rate of 0 Hz"),
        ({"array": tone(), "sampling_rate": 10**9}, "rate of 1000000000 Hz"),
        ({"array": np.zeros(0), "sampling_rate": RATE}, r"shape \(0,\) is no audio"),
        ({"array": np.zeros((2, 2, 2)), "sampling_rate": RATE}, r"shape \(2, 2, 2\) is no audio"),
        ({"array": np.array(["a"]), "sampling_rate": RATE}, "type <U1 is no audio"),
        ({"array": np.array([0.0, np.nan]), "sampling_rate": RATE}, r"not finite \(NaN or infinity\)"),
        ({"array": np.array([0.0, 9000.0]), "sampling_rate": RATE}, "floats must lie within -1 and 1"),
        (sound_file(np.array([0.0, np.inf]), subtype="FLOAT"), r"not finite \(NaN or infinity\)"),
        (sound_file(np.zeros(0)), "has 0 samples"),
        (sound_file(np.zeros(1)), "has 1 samples"),
        (clip_file(greys(4)), "has no audio track"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_sound_says_why(value, reason):
    with pytest.raises(MediaError, match=reason):
        decode(value)


def test_a_sound_above_the_limits_is_refused():
    with pytest.raises(MediaError, match=r"lasts 1.0 s; the limit is 0.5 s"):
        decode(sound_file(tone()), AudioOptions(max_seconds=0.5))
    with pytest.raises(MediaError, match=r"lasts .* s; the limit is 0.5 s"):
        decode(clip_file(greys(8), sound=tone()), AudioOptions(max_seconds=0.5))
    with pytest.raises(MediaError, match="has 32044 bytes; the limit is 1000"):
        decode(sound_file(tone()), AudioOptions(max_bytes=1000))
    assert decode(sound_file(tone()), AudioOptions(max_seconds=1.0)).seconds == 1.0


def test_playlists_open_no_other_file(tmp_path):
    """ffmpeg would follow them to any file of the machine, or to an address."""
    target = tmp_path / "secret.wav"
    target.write_bytes(sound_file(tone()))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n"
    for listing in (playlist, f"ffconcat version 1.0\nfile {target}\n"):
        with pytest.raises(MediaError, match="can be decoded"):
            decode(listing.encode())


def test_a_saved_sound_is_read_back_to_a_sixteenth_bit(tmp_path):
    save(Sound(tone(), RATE), tmp_path / "tone.wav")
    back = decode(tmp_path / "tone.wav")
    assert back.rate == RATE and np.abs(back.samples - tone()).max() < 1 / 2**14


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_sounds_of_many_channels_are_averaged(channels):
    """Channel c is c + 1 eighths of a tone, so the mean is (channels + 1) / 16 of it."""
    samples = np.stack([tone() * (c + 1) / 8 for c in range(channels)], axis=1)
    for kind in ("WAV", "W64"):
        sound = decode(sound_file(samples, kind=kind, subtype="FLOAT"))
        assert len(sound.samples) == RATE
        assert np.abs(sound.samples - tone() * (channels + 1) / 16).max() < 1e-6


def test_channels_of_a_container_are_interleaved_before_they_are_read():
    """A track of three channels, by the path of containers: 1, 2 and 3 eighths of full scale; the mean is 2 eighths."""
    found = audio._from_container(matroska(3), AudioOptions(), "")
    assert found.rate == RATE and np.abs(found.samples - 0.25).max() < 1e-3


def matroska(channels):
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("pcm_s16le", rate=RATE, layout={3: "3.0"}[channels])
        samples = np.tile([[round(32768 * (c + 1) / 8) for c in range(channels)]], (RATE, 1)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout={3: "3.0"}[channels])
        frame.rate = RATE
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def test_a_sound_with_fewer_samples_than_its_header_says_is_cut_off():
    for kind in ("WAV", "AIFF", "AU"):
        whole = sound_file(tone(), kind=kind)
        assert len(decode(whole).samples) == RATE
        with pytest.raises(MediaError, match=r"cut off: .* there are 3\d{4} bytes of samples, and there are 2\d{4}"):
            decode(whole[: len(whole) * 2 // 3])
    with pytest.raises(MediaError, match="cannot be decoded|can be decoded"):
        decode(sound_file(tone(), kind="FLAC")[:8000])


def test_a_wav_file_that_was_written_to_a_pipe_is_whole():
    """Its header says that it does not know: all bits of the sizes are set."""
    whole = sound_file(tone())
    streamed = whole[:4] + b"\xff" * 4 + whole[8:40] + b"\xff" * 4 + whole[44:]
    assert len(decode(streamed).samples) == RATE


def test_samples_above_the_limit_are_refused():
    with pytest.raises(MediaError, match=r"has 16000 samples; the limit is 15999 \(data.media.audio.max_samples\)"):
        decode(sound_file(tone()), AudioOptions(max_samples=15_999))
