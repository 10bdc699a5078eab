"""Pictures come out upright, RGB and 8-bit, from whatever a data set stores; what is no picture says so."""

import base64
import io
import warnings

import numpy as np
import pytest
from PIL import Image

import aa_lightning  # noqa: F401
from aa_lightning import media
from aa_lightning.media import Base64, MediaError, Url
from aa_lightning.media.image import decode
from aa_lightning.media.options import ImageOptions

from .rows import picture

RED = (255, 0, 0)


def file_of(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def on_disk(tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(picture())
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda path: path,
        str,
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: {"bytes": path.read_bytes(), "path": None},
        lambda path: {"bytes": None, "path": str(path)},
        lambda path: {"bytes": path.read_bytes(), "path": "gone.png"},
        Image.open,
        lambda path: np.asarray(Image.open(path)),
        lambda path: np.asarray(Image.open(path)) / 255,
        lambda path: np.asarray(Image.open(path)).astype(np.uint16) * 257,
        lambda path: Base64(base64.b64encode(path.read_bytes()).decode()),
        lambda path: Base64("data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()),
        lambda path: lambda: Image.open(path),
    ],
)
def test_every_storage_gives_the_same_picture(wrap, on_disk):
    image = decode(wrap(on_disk))
    assert (image.mode, image.size) == ("RGB", (8, 6))
    assert np.array_equal(np.asarray(image), np.full((6, 8, 3), RED))


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (Image.new("L", (2, 2), 100), (100, 100, 100)),
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("P", (2, 2), 0), (0, 0, 0)),
        (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), RED),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 255)), RED),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 0)), (255, 255, 255)),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 51)), (255, 204, 204)),
        (Image.new("LA", (2, 2), (0, 0)), (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 32896, np.uint16)), (128, 128, 128)),
        (Image.fromarray(np.full((2, 2), 65535, np.int32)), (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 200, np.int32)), (200, 200, 200)),
        (Image.fromarray(np.full((2, 2), 0.5, np.float32)), (128, 128, 128)),
    ],
    ids=lambda value: getattr(value, "mode", ""),
)
def test_every_mode_becomes_rgb(image, pixel):
    """A red of alpha 51 of 255 is a fifth red over white: 255, 204, 204. 32896 / 257 = 128."""
    assert decode(image).mode == "RGB"
    assert decode(image).getpixel((0, 0)) == pixel


def test_a_transparent_palette_becomes_white_where_it_is_transparent():
    image = Image.new("P", (2, 1), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    decoded = decode(file_of(image, transparency=1))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [RED, (255, 255, 255)]


def test_a_sixteen_bit_png_keeps_its_greys():
    assert decode(file_of(Image.fromarray(np.full((2, 2), 25700, np.uint16)))).getpixel((0, 0)) == (100, 100, 100)


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (7, 5)), (6, (5, 0)), (8, (0, 7))])
def test_pictures_are_turned_upright(orientation, corner):
    """A red pixel stands at the top left of an 8 x 6 file; orientation 6 turns it right, 8 left, 3 upside down."""
    image = Image.new("RGB", (8, 6), "white")
    image.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[274] = orientation
    decoded = decode(file_of(image, exif=exif))
    assert decoded.size == ((8, 6) if orientation in (1, 3) else (6, 8))
    assert decoded.getpixel(corner) == RED


def test_of_an_animation_the_first_frame_is_taken():
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    animation = file_of(first, "GIF", save_all=True, append_images=[second])
    assert decode(animation).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, r"There is no image \(null\)"),
        (b"", "has no bytes"),
        (b"not a picture", "13 bytes are no image .*no known image format"),
        (picture(size=(300, 300))[:200], "200 bytes are no image that can be decoded .*truncated"),
        ("gone.png", "There is no image file 'gone.png'. Give the folder"),
        ("https://example.org/x.png", "data.media.fetch=true"),
        ("A" * 5000, "looks like base64: write `as: base64`"),
        ("", "path of the image is empty"),
        ({"bytes": None, "path": None}, "neither bytes nor a path"),
        ({"array": [1]}, "its keys are array"),
        (42, "value of type int"),
        (np.zeros((3, 8, 8), np.uint8), r"array of shape \(3, 8, 8\) is no image"),
        (np.zeros((0, 0, 3), np.uint8), "is no image"),
        (np.full((2, 2), 7.0), "between 0 and 1"),
        (np.full((2, 2), np.nan), "between 0 and 1"),
        (np.zeros((2, 2), np.int64), "type int64"),
        (Base64("?!"), "is not base64"),
        (Url("file:///etc/hosts"), "not an http address"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_picture_says_why(value, reason):
    with pytest.raises(MediaError, match=reason):
        decode(value)


def test_a_picture_above_the_limit_is_refused_before_it_is_decoded():
    bomb = file_of(Image.new("1", (12_000, 12_000)))
    assert len(bomb) < 100_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MediaError, match="12000 x 12000 pixels; the limit is 50000000"):
            decode(bomb)
    with pytest.raises(MediaError, match="8 x 6 pixels; the limit is 47"):
        decode(picture(), ImageOptions(max_pixels=47))
    assert decode(picture(), ImageOptions(max_pixels=48)).size == (8, 6)


def test_parts_are_decoded_by_their_type():
    part = media.decode({"type": "image", "image": picture(), "column": "jpg"})
    assert set(part) == {"type", "image", "column"} and part["image"].size == (8, 6)
    words = {"type": "text", "text": "hello"}
    assert media.decode(words) is words
    with pytest.raises(MediaError, match="type 'smell'; what can be read is text, image"):
        media.decode({"type": "smell", "smell": b""})
