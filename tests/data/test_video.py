"""Clips come out as upright RGB frames at true times, from whatever a data set stores; what is none says so."""

import resource

import numpy as np
import pytest
from PIL import Image

import aa_lightning  # noqa: F401
from aa_lightning import media
from aa_lightning.media import MediaError
from aa_lightning.media.options import AudioOptions, VideoOptions
from aa_lightning.media.video import Clip, decode, sampled, save

from .media_files import animation, clip_file, greys, sound_file, tone
from .rows import picture

ALL = VideoOptions(fps=None, max_frames=1000)


def levels(clip):
    """The grey of each frame, in tens."""
    return (clip.frames.mean(axis=(1, 2, 3)) / 10).round().astype(int).tolist()


def test_every_frame_of_a_file_comes_with_its_time():
    clip = decode(clip_file(greys(24)), ALL)
    assert clip.frames.shape == (24, 48, 64, 3) and clip.frames.dtype == np.uint8
    assert clip.times == pytest.approx(np.arange(24) / 8) and clip.fps == pytest.approx(8)
    assert levels(clip) == list(range(24))


@pytest.mark.parametrize(
    ("kind", "codec"), [("matroska", "mpeg4"), ("avi", "mpeg4"), ("webm", "libvpx"), ("mov", "mpeg4")]
)
def test_every_container_gives_the_same_frames(kind, codec):
    clip = decode(clip_file(greys(8), kind=kind, codec=codec), ALL)
    assert levels(clip) == list(range(8)) and clip.times == pytest.approx(np.arange(8) / 8, abs=1e-3)


def test_frames_are_chosen_at_the_rate_asked_for():
    """24 frames at 8 per second last until 2.875 s; at 2 per second these are the frames 0, 4, 8, 12, 16, 20."""
    clip = decode(clip_file(greys(24)), VideoOptions(fps=2.0))
    assert clip.times.tolist() == [0, 0.5, 1, 1.5, 2, 2.5] and levels(clip) == [0, 4, 8, 12, 16, 20]
    assert clip.fps == pytest.approx(2)


def test_a_clip_slower_than_the_rate_asked_for_repeats_no_frame():
    assert levels(decode(clip_file(greys(4), fps=1), VideoOptions(fps=10.0))) == [0, 1, 2, 3]


def test_of_too_many_frames_some_are_chosen_uniformly_in_time():
    clip = decode(clip_file(greys(21)), VideoOptions(fps=None, max_frames=5))
    assert levels(clip) == [0, 5, 10, 15, 20]


def test_a_variable_frame_rate_is_respected():
    """Eight frames in the first second, then one after 3 and one after 5 seconds: at instants 0, 1, …, 5 the frames
    0, 7 (of 0.875 s), 7, 8, 8, 9 are shown, none of them twice."""
    times = [0, 1, 2, 3, 4, 5, 6, 7, 24, 40]
    data = clip_file(greys(10), times=times, kind="matroska")
    assert decode(data, ALL).times == pytest.approx(np.array(times) / 8, abs=1e-3)
    chosen = decode(data, VideoOptions(fps=1.0))
    assert levels(chosen) == [0, 7, 8, 9] and chosen.times == pytest.approx([0, 0.875, 3, 5], abs=1e-3)


def test_distant_frames_of_a_long_clip_are_the_right_ones():
    """300 s at 4 frames per second; the frames are reached from key frame to key frame."""
    clip = decode(clip_file(greys(1200, 32, 32), fps=4), VideoOptions(fps=None, max_frames=4))
    numbers = (clip.times * 4).round().astype(int)
    assert numbers[0] == 0 and numbers[-1] == 1199 and np.diff(numbers).min() >= 399
    assert levels(clip) == [number % 25 for number in numbers]


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (90, (-1, 0)), (180, (-1, -1)), (270, (0, -1))])
def test_clips_are_turned_upright(degrees, corner):
    """The top left quarter of the stored frames is white; turned counter-clockwise by 90 degrees it is at the bottom
    left."""
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:24, :32] = 255
    clip = decode(clip_file([frame] * 3, rotation=degrees), ALL)
    assert clip.frames.shape[1:3] == ((48, 64) if degrees in (0, 180) else (64, 48))
    assert clip.frames[0][corner].min() > 200 and np.median(clip.frames[0]) < 50


def test_large_frames_are_scaled_down():
    clip = decode(clip_file(greys(2, 320, 160)), VideoOptions(longest_side=64))
    assert clip.frames.shape[1:3] == (32, 64)


def test_the_sound_track_is_read_on_demand():
    data = clip_file(greys(8), sound=tone())
    assert decode(data).sound is None
    sound = decode(data, VideoOptions(audio=True)).sound
    assert sound.rate == 16_000 and sound.seconds == pytest.approx(1.0, abs=0.1)
    assert decode(clip_file(greys(8)), VideoOptions(audio=True)).sound is None
    with pytest.raises(MediaError, match="the limit is 0.2 s"):
        decode(data, VideoOptions(audio=True, track=AudioOptions(max_seconds=0.2)))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda frames, folder: np.stack(frames),
        lambda frames, folder: frames,
        lambda frames, folder: [Image.fromarray(frame) for frame in frames],
        lambda frames, folder: {"frames": frames, "fps": 24},
        lambda frames, folder: {"frames": np.stack(frames), "fps": None},
        lambda frames, folder: Clip(np.stack(frames), np.arange(5) / 24),
        lambda frames, folder: lambda: Clip(np.stack(frames), np.arange(5) / 24),
        lambda frames, folder: folder,
        lambda frames, folder: str(folder),
    ],
)
def test_every_form_of_frames_gives_the_same_clip(wrap, tmp_path):
    frames = greys(5)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number:03d}.png")
    value = wrap(frames, tmp_path)
    media.check({"type": "video", "video": value})
    clip = decode(value, ALL)
    assert np.array_equal(clip.frames, np.stack(frames)) and clip.times == pytest.approx(np.arange(5) / 24)


def test_frames_with_a_rate_get_its_times():
    clip = decode({"frames": greys(5), "fps": 2}, ALL)
    assert clip.times.tolist() == [0, 0.5, 1, 1.5, 2] and clip.fps == 2


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animated_picture_is_a_clip_with_its_own_times(kind):
    """Frames shown for 100, 300 and 200 ms start at 0, 0.1 and 0.4 s."""
    clip = decode(animation(greys(3), kind, [100, 300, 200]), ALL)
    assert levels(clip) == [0, 1, 2] and clip.times == pytest.approx([0, 0.1, 0.4])


@pytest.mark.parametrize("value", [clip_file(greys(1)), picture(size=(64, 48)), animation(greys(1)), greys(1)])
def test_one_frame_is_a_clip_of_one_instant(value):
    clip = decode(value)
    assert clip.frames.shape == (1, 48, 64, 3) and clip.times.tolist() == [0] and clip.fps == 1


def test_sampling_gives_the_number_asked_for_and_keeps_true_times():
    clip = Clip(np.stack(greys(9)), np.arange(9) / 4)
    assert levels(sampled(clip, 3)) == [0, 4, 8] and sampled(clip, 3).times.tolist() == [0, 1, 2]
    assert levels(sampled(clip, 9)) == list(range(9)) and levels(sampled(clip, 1)) == [0]
    few = sampled(Clip(np.stack(greys(2)), np.array([0.0, 1.0])), 4)
    assert levels(few) == [0, 0, 0, 1] and few.times.tolist() == [0, 0, 0, 1]


def test_frames_bunched_in_time_are_not_repeated_while_there_are_enough():
    """At 0, 4.5 and 9 s the frames 0, 3, 4 are shown; at 0, 3, 6, 9 s frame 3 twice, so they go by number: 0, 1, 3, 4."""
    clip = Clip(np.stack(greys(5)), np.array([0, 0.1, 0.2, 0.3, 9.0]))
    assert levels(sampled(clip, 3)) == [0, 3, 4] and levels(sampled(clip, 4)) == [0, 1, 3, 4]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, r"There is no video \(null\)"),
        (b"", "The video has no bytes"),
        (b"not a clip", "no video that can be decoded"),
        (clip_file(greys(8))[:500], "no video that can be decoded"),
        (sound_file(tone()), "has no frames"),
        ("gone.mp4", "There is no video file 'gone.mp4'"),
        ([], "has no frames"),
        (np.zeros((0, 4, 4, 3), np.uint8), "has no frames"),
        (clip_file([], kind="matroska"), "no frames|no pictures|no bytes|can be decoded"),
        ({"frames": greys(2), "fps": -1}, "fps=-1"),
        ({"frames": greys(2), "fps": "fast"}, "fps='fast'"),
        ({"frames": [b"nothing"]}, "no image that can be decoded"),
        (42, "value of type int"),
        (Clip(np.stack(greys(2)), np.array([1.0, 0.0])), "as many times in order"),
        (Clip(np.stack(greys(2)), np.array([0.0])), "there are 1"),
        (Clip(np.zeros((2, 4, 4)), np.arange(2.0)), "is no video|are no video"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_clip_says_why(value, reason):
    with pytest.raises(MediaError, match=reason):
        decode(value)


def test_a_folder_without_pictures_is_no_clip(tmp_path):
    with pytest.raises(MediaError, match="has no frames"):
        decode(tmp_path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_seconds": 1.0}, r"lasts .* s; the limit is 1.0 s"),
        ({"max_pixels": 1000}, "64 x 48 pixels; the limit is 1000"),
        ({"max_bytes": 100}, "bytes; the limit is 100"),
    ],
)
def test_a_clip_above_the_limits_is_refused(options, reason):
    with pytest.raises(MediaError, match=reason):
        decode(clip_file(greys(24)), VideoOptions(**options))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animated_picture_is_bounded_over_all_of_its_frames(kind):
    """5 frames of 64 x 48 pixels have 15,360 in all."""
    data = animation(greys(5), kind)
    assert len(decode(data, VideoOptions(fps=None, max_animated_pixels=15_360)).frames) == 5
    with pytest.raises(
        MediaError, match=r"5 frames with 15360 pixels in all; the limit is 15359 \(data.media.video.max"
    ):
        decode(data, VideoOptions(max_animated_pixels=15_359))


def test_of_large_frames_one_at_a_time_is_held_in_its_own_size():
    """24 frames of 4 million pixels, 16 MB each as they are decoded, become 64 pixels wide."""
    frames = [animation([np.full((2000, 2000, 3), 10 * i, np.uint8)], "PNG") for i in range(24)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clip = decode(frames, VideoOptions(fps=None, longest_side=64))
    assert clip.frames.shape == (24, 64, 64, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 2**10  # KiB


def test_a_saved_clip_is_read_back_to_the_bit(tmp_path):
    clip = Clip(np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8), np.array([0, 0.25, 1.0]))
    save(clip, tmp_path / "clip.webp")
    back = decode(tmp_path / "clip.webp", ALL)
    assert np.array_equal(back.frames, clip.frames) and back.times == pytest.approx(clip.times)
