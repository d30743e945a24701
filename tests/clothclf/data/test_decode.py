"""Images of every kind decode to RGB as a viewer shows them; hostile files are refused."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from clothclf.data.decode import HEIC, MAX_PIXELS, SHARP_SIDE, pixel_hash, resized
from clothclf.data.rgb import LEVELS, STRIP_PIXELS
from clothclf.errors import DataError
from tests.conftest import decode_rgb
from tests.faults.hostile_images import TagValue, chunk, tiff


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def decoded(content: bytes) -> np.ndarray:
    result = decode_rgb(content)
    assert result.image.mode == "RGB"
    return np.asarray(result.image)


def test_rgb_comes_through_unchanged() -> None:
    pixels = noise(9, 7, 3)
    assert np.array_equal(decoded(saved(Image.fromarray(pixels))), pixels)
    assert decode_rgb(saved(Image.fromarray(pixels))).stored_mode == "RGB"


def test_grey_and_black_and_white_have_equal_channels() -> None:
    grey = noise(9, 7)
    assert np.array_equal(decoded(saved(Image.fromarray(grey))), np.dstack([grey] * 3))
    black_white = Image.fromarray(grey > 127)
    assert black_white.mode == "1"
    assert np.array_equal(decoded(saved(black_white))[..., 0], np.where(grey > 127, 255, 0))


def test_transparency_lies_on_white() -> None:
    """Transparent pixels become white, half-transparent black becomes grey, opaque pixels stay."""
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, :, 3] = 0, 128, 255
    assert decoded(saved(Image.fromarray(pixels)))[0, :, 0].tolist() == [255, 127, 0]
    assert decode_rgb(saved(Image.fromarray(pixels))).stored_mode == "RGBA"
    grey = Image.fromarray(pixels).convert("LA")
    assert decoded(saved(grey))[0, :, 0].tolist() == [255, 127, 0]


def test_a_palette_gives_its_colours_and_its_clear_one_is_white() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert decoded(saved(image)).tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    assert decoded(saved(image, transparency=1)).tolist()[0][1] == [255, 255, 255]


def test_one_clear_colour_of_an_rgb_image_is_white() -> None:
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8))
    content = saved(image, transparency=(1, 2, 3))
    assert decoded(content).tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_cmyk_is_converted() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    result = decode_rgb(saved(image, "JPEG", quality=100))
    assert result.stored_mode == "CMYK"
    assert np.abs(np.asarray(result.image)[4, 4].astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("top", [65535, 200])
def test_sixteen_bits_keep_their_scale(top: int) -> None:
    """Levels of 0 to 65535 become 0 to 255; a dark image stays dark."""
    levels = np.linspace(0, top, 64).astype(np.uint16).reshape(8, 8)
    result = decode_rgb(saved(Image.fromarray(levels)))
    assert result.stored_mode.startswith("I")
    expected = (levels.astype(float) / 65535 * 255).astype(np.uint8)
    assert np.array_equal(np.asarray(result.image)[..., 1], expected)


def numbers(levels: np.ndarray, bits: int, kind: int, white: int = 1) -> bytes:
    """TIFF with unsigned (1), signed (2) or floating-point (3) samples; `white` 0 inverts them."""
    height, width = levels.shape
    content = levels.tobytes()
    size: list[TagValue] = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits)]
    strip: list[TagValue] = [(273, 4, 1, 122), (278, 4, 1, height), (279, 4, 1, len(content))]
    return tiff([*size, (259, 3, 1, 1), (262, 3, 1, white), *strip, (339, 3, 1, kind)], content)


RAMP = np.linspace(0, 1, 64).reshape(8, 8)
SCALES = {
    "floats to 1": (RAMP.astype(np.float32), 32, 3),
    "floats to 255": ((RAMP * 255).astype(np.float32), 32, 3),
    "floats to 65535": ((RAMP * 65535).astype(np.float32), 32, 3),
    "floats that overshoot": ((RAMP * 1.001 - 0.0005).astype(np.float32), 32, 3),
    "signed 16 bits": ((RAMP * 32767).astype(np.int16), 16, 2),
    "signed 32 bits": ((RAMP * (2**31 - 1)).astype(np.int32), 32, 2),
    "unsigned 32 bits": ((RAMP * (2**32 - 1)).astype(np.uint32), 32, 1),
    "32 bits to 255": ((RAMP * 255).round().astype(np.uint32), 32, 1),
    "32 bits to 65535": ((RAMP * 65535).astype(np.int32), 32, 2),
}


@pytest.mark.parametrize("name", SCALES)
def test_wide_levels_are_scaled_by_what_they_are(name: str) -> None:
    grey = decoded(numbers(*SCALES[name]))[..., 0].astype(float)
    assert np.abs(grey - RAMP * 255).max() <= 1.5


@pytest.mark.parametrize(
    ("levels", "bits", "kind"),
    [
        ((RAMP * 255).astype(np.uint8), 8, 1),
        ((RAMP * 65535).astype(np.uint16), 16, 1),
        (RAMP.astype(np.float32), 32, 3),
    ],
    ids=["8 bits", "16 bits", "floats"],
)
def test_levels_whose_lowest_is_white_are_inverted(
    levels: np.ndarray, bits: int, kind: int
) -> None:
    grey = decoded(numbers(levels, bits, kind, white=0))[..., 0].astype(float)
    assert np.abs(255 - grey - RAMP * 255).max() <= 1.5


@pytest.mark.parametrize(
    ("top", "kind"),
    [
        (3.0, 2),
        (3.0, 3),
        (1023.0, 2),
        (1023.0, 3),
        (1e6, 2),
        (1e6, 3),
        (-1.0, 2),
        (-1.0, 3),
        (1e-3, 3),
    ],
)
def test_levels_of_no_known_range_are_refused(top: float, kind: int) -> None:
    """A guessed scale would make them black, or brighten a dark image."""
    levels = (RAMP * top).astype(np.int32 if kind == 2 else np.float32)
    with pytest.raises(DataError, match=LEVELS):
        decode_rgb(numbers(levels, 32, kind))


def test_twelve_bits_keep_their_scale() -> None:
    """Two levels in three bytes."""
    levels = (RAMP * 4095).astype(int).ravel()
    bundled = bytes.fromhex("".join(f"{level:03x}" for level in levels))
    content = numbers(np.frombuffer(bundled, dtype=np.uint8).reshape(8, 12), 12, 1)
    content = content.replace(
        struct.pack("<HHLL", 256, 4, 1, 12), struct.pack("<HHLL", 256, 4, 1, 8)
    )
    grey = decoded(content)[..., 0].astype(float)
    assert np.abs(grey - RAMP * 255).max() <= 1.5


def test_a_clear_level_of_16_bits_is_white() -> None:
    """In grey and colour images."""
    levels = np.array([[0x1234, 0x1299, 0]], dtype=np.uint16)
    grey = decoded(saved(Image.fromarray(levels), transparency=0x1234))
    assert grey[0, :, 0].tolist() == [255, 0x12, 0]
    row = b"\0" + struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0xFFFF, 0, 0)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"tRNS", row[1:7]), (b"IDAT", zlib.compress(row)), (b"IEND", b"")]
    colours = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
    assert decoded(colours).tolist() == [[[255, 255, 255], [255, 0, 0]]]


def test_an_image_of_several_strips_is_converted_whole() -> None:
    """Strips are joined without a seam."""
    pixels = noise(STRIP_PIXELS // 1000 * 2 + 9, 1000, 4)
    layer = Image.fromarray(pixels)
    whole = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    assert np.array_equal(decoded(saved(layer, compress_level=1)), np.asarray(whole))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int) -> None:
    """Whatever the camera's orientation, the decoded image is upright."""
    upright = np.zeros((16, 24, 3), dtype=np.uint8)
    upright[:8, :8] = 255  # white corner at the top left
    turns = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(turns[orientation](upright)))
    assert np.array_equal(decoded(saved(stored, exif=exif)), upright)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decoded(content)[4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_file_that_is_cut_short_is_refused_at_every_length(kind: str) -> None:
    """No image with a grey lower half: either complete, or a one-line DataError."""
    content = saved(Image.fromarray(noise(40, 30, 3)), kind)
    for keep in (len(content) // 4, len(content) // 2, len(content) * 3 // 4):
        with pytest.raises(DataError) as caught:
            decode_rgb(content[:keep])
        assert str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 1000, b"<svg/>", b"%PDF-1.4", b"\xff\xd8\xff", b"GIF89a", b"\x89PNG\r\n\x1a\n"],
)
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        decode_rgb(content)


def test_formats_that_run_other_programs_are_not_tried() -> None:
    """Pillow passes PostScript to Ghostscript; only plain image formats are opened."""
    with pytest.raises(DataError):
        decode_rgb(saved(Image.new("RGB", (8, 8)), "EPS"))


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        backbone = kind + content
        return struct.pack(">I", len(content)) + backbone + struct.pack(">I", zlib.crc32(backbone))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (MAX_PIXELS + 1, 1), (9000, 9000)])
def test_a_decompression_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    """It is refused for its size before memory is allocated, not for its missing pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match="pixels"):
            decode_rgb(png_header(width, height))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_bytes_behind_a_good_start_never_crash() -> None:
    """Damage of any kind gives a DataError or an image, and nothing else."""
    rng = np.random.default_rng(1)
    outcomes = set()
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        content = saved(Image.fromarray(noise(20, 20, 3)), kind)
        for _ in range(40):
            broken = np.frombuffer(content, dtype=np.uint8).copy()
            places = rng.integers(0, len(broken), 6)
            broken[places] = rng.integers(0, 256, 6)
            try:
                outcomes.add(decode_rgb(broken.tobytes()).image.mode)
            except DataError:
                outcomes.add("refused")
    assert outcomes == {"RGB", "refused"}


# Photographs


def photograph(width: int, height: int) -> Image.Image:
    """Soft shapes with some grain, as in photographs."""
    shapes = Image.fromarray(noise(height // 50, width // 50, 3))
    grain = Image.fromarray(noise(height, width, 3))
    return Image.blend(shapes.resize((width, height), Image.Resampling.BICUBIC), grain, 0.05)


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same() -> None:
    """Within two levels at training sizes; the stored size is reported."""
    image = photograph(3000, 2100)
    content = saved(image, "JPEG", quality=90)
    result = decode_rgb(content)
    assert result.stored_size == (3000, 2100)
    assert result.image.size == (1500, 1050)
    whole = Image.open(io.BytesIO(content))
    difference = resized(result.image, 112).astype(int) - resized(whole, 112)
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize(
    ("stored", "kind", "seen"),
    [
        ((2 * SHARP_SIDE, 2 * SHARP_SIDE), "JPEG", (SHARP_SIDE, SHARP_SIDE)),
        ((4000, 2 * SHARP_SIDE - 1), "JPEG", (4000, 2 * SHARP_SIDE - 1)),
        ((4100, 4100), "JPEG", (1025, 1025)),
        ((2100, 2100), "PNG", (2100, 2100)),
    ],
)
def test_no_image_becomes_smaller_than_it_is_ever_looked_at(
    stored: tuple[int, int], kind: str, seen: tuple[int, int]
) -> None:
    content = saved(Image.new("RGB", stored, "red"), kind)
    result = decode_rgb(content)
    assert (result.stored_size, result.image.size) == (stored, seen)


def test_a_turned_photograph_is_reported_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    result = decode_rgb(saved(Image.new("RGB", (3000, 2100)), "JPEG", exif=exif))
    assert (result.stored_size, result.image.size) == ((2100, 3000), (1050, 1500))


def test_exact_duplicates_have_one_hash_and_others_another() -> None:
    """Hashes depend on pixels and shape, not on the file or the number of strips."""
    tall = noise(200, 12, 3)
    first = pixel_hash(Image.fromarray(tall))
    assert pixel_hash(decode_rgb(saved(Image.fromarray(tall), "BMP")).image) == first
    assert pixel_hash(Image.fromarray(tall.reshape(100, 24, 3))) != first
    tall[-1, -1, 0] ^= 1
    assert pixel_hash(Image.fromarray(tall)) != first


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif"])
def test_what_phones_write_is_refused_with_the_remedy(brand: bytes) -> None:
    content = b"\0\0\0\x18ftyp" + brand + bytes(200)
    with pytest.raises(DataError, match=HEIC):
        decode_rgb(content)
