"""Image files: which formats, sizes and depths are decoded, and what their metadata may be."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from soteacher.core.errors import UserError
from soteacher.data.images import EXTENSIONS, MAX_PIXELS, decoded, turned


def pixels(shape=(6, 8, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(array, format, **options):
    written = io.BytesIO()
    Image.fromarray(array).save(written, format, **options)
    return written.getvalue()


def read(data):
    with decoded(io.BytesIO(data), "a.png") as image:
        return np.asarray(turned(image).convert("RGB"))


def refusal(data):
    with pytest.raises(UserError) as caught:
        read(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# formats


def test_each_extension_is_one_that_pillow_gives_to_an_opened_format():
    for extension in EXTENSIONS:
        format = Image.registered_extensions()[extension]
        if format == "JPEG":  # also with more images, as some cameras save it
            more = {"save_all": True, "append_images": [Image.new("RGB", (8, 6))]}
            assert read(encoded(pixels(), "MPO", **more)).shape == (6, 8, 3)
        assert read(encoded(pixels(), format)).shape == (6, 8, 3)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def test_no_program_is_started_for_an_eps_image_under_another_name(tmp_path, monkeypatch):
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert refusal(EPS) == (
        "cannot read the image a.png (its content is not that of a BMP, JPEG, PNG, PPM, TIFF or "
        "WEBP image); replace it with an intact copy, or remove it"
    )
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("format", ["GIF", "ICO", "JPEG2000", "TGA", "SGI", "PCX", "DDS", "AVIF"])
def test_other_formats_are_refused_though_pillow_knows_them(format):
    Image.init()
    if format not in Image.SAVE:
        pytest.skip("this Pillow cannot write it")
    assert "its content is not that of a BMP, JPEG, PNG, " in refusal(encoded(pixels(), format))


# bits per channel


def joined(chunks, wrong=()):
    """A PNG image of chunks; the checksums of some kinds are wrong."""
    made = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        check = zlib.crc32(kind + body) ^ (kind in wrong)
        made += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)
    return made


def png(bits, colour_type, channels):
    """A 2x2 PNG image; Pillow itself writes no colours of 16 bits."""
    header = struct.pack(">IIBBBBB", 2, 2, bits, colour_type, 0, 0, 0)
    rows = (b"\0" + b"\x12" * (bits // 8) * channels * 2) * 2
    return joined([(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def tiff(bits, samples, order="<", sample_format=1, planar=1, data=bytes(4 * 8 * 4)):
    """A 2x2 TIFF image without compression."""
    photometric = 2 if samples > 1 else 1
    tags = [(256, 3, 1, 2), (257, 3, 1, 2), (259, 3, 1, 1), (262, 3, 1, photometric)]
    tags += [(277, 3, 1, samples), (278, 3, 1, 2), (284, 3, 1, planar)]
    entries, extra = [], b""
    start = 8 + 2 + 12 * 10 + 4
    tables = [(258, bits), (339, sample_format)]
    for tag, value in tables:
        if samples == 1:
            tags.append((tag, 3, 1, value))
        else:
            tags.append((tag, 3, samples, ("at", start + len(extra))))
            extra += struct.pack(f"{order}{samples}H", *[value] * samples)
    tags.append((273, 4, 1, ("at", start + len(extra))))
    for tag, kind, count, value in sorted(tags, key=lambda one: one[0]):
        if isinstance(value, tuple):
            packed = struct.pack(f"{order}I", value[1])
        else:
            packed = struct.pack(f"{order}HH", value, 0)
        entries.append(struct.pack(f"{order}HHI", tag, kind, count) + packed)
    head = b"II*\0" if order == "<" else b"MM\0*"
    head += struct.pack(f"{order}I", 8) + struct.pack(f"{order}H", len(entries))
    return head + b"".join(entries) + bytes(4) + extra + data


DEEP = {
    "png grey": png(16, 0, 1),
    "png rgb": png(16, 2, 3),
    "png grey alpha": png(16, 4, 2),
    "png rgba": png(16, 6, 4),
    "pgm": b"P5\n2 2\n65535\n" + bytes(8),
    "pgm 10 bits": b"P5\n2 2\n1023\n" + bytes(8),
    "pgm text": b"P2\n2 2\n256\n0 1 2 256\n",
    "ppm": b"P6\n2 2\n65535\n" + bytes(24),
    "ppm 9 bits": b"P6\n2 2\n256\n" + bytes(24),
    "ppm text": b"P3\n1 1\n1000\n0 500 1000\n",
    "pfm grey": b"Pf\n2 2\n-1.0\n" + bytes(16),
    "tiff grey": tiff(16, 1),
    "tiff rgb": tiff(16, 3),
    "tiff rgb big endian": tiff(16, 3, ">"),
    "tiff float": tiff(32, 1, sample_format=3),
    "tiff 32 bits": tiff(32, 1),
}


@pytest.mark.parametrize("name", DEEP)
def test_images_of_more_than_8_bits_are_refused_and_not_cut_to_8(name):
    text = refusal(DEEP[name])
    assert text.startswith("a.png has more than 8 bits per channel, or signed numbers or floats (")
    assert text.endswith("expected 8 bits per channel: scale it and save it with 8 bits")


@pytest.mark.parametrize("planar", [1, 2])
def test_tiff_colours_of_16_bits_are_refused_in_one_plane_and_in_three(planar):
    assert "a.png" in refusal(tiff(16, 3, planar=planar))


def test_compressed_tiff_colours_of_16_bits_are_refused():
    """The pixels are never decoded, so they can be anything."""
    data = bytearray(encoded(pixels((2, 2, 3)), "TIFF", compression="tiff_lzw"))
    at = data.index(struct.pack("<3H", 8, 8, 8))
    data[at : at + 6] = struct.pack("<3H", 16, 16, 16)
    assert "has more than 8 bits per channel" in refusal(bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        png(8, 2, 3),
        b"P6\n2 2\n255\n" + bytes(12),
        b"P6\n2 2\n15\n" + bytes(12),
        b"P3\n1 1\n255\n0 128 255\n",
        b"P5\n2 2\n100\n" + bytes(4),
        b"P4\n2 2\n" + bytes(2),
        tiff(8, 3),
        tiff(8, 1, ">"),
    ],
)
def test_images_of_8_bits_or_fewer_are_read(data):
    assert read(data).dtype == np.uint8


# size


def header_only(width, height):
    """A PNG image whose header is followed by no pixels: decoding it would be another error."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return joined([(b"IHDR", header), (b"IDAT", b"")])


@pytest.mark.parametrize(("width", "height"), [(13000, 13000), (1 << 30, 1 << 30), (8193, 8192)])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(width, height):
    assert refusal(header_only(width, height)) == (
        f"a.png has {width}x{height} pixels; expected at most 67,108,864 (8192x8192): scale it "
        "down, or remove it"
    )


def test_the_limit_of_pillow_is_restored():
    before = Image.MAX_IMAGE_PIXELS
    refusal(header_only(13000, 13000))
    assert before == Image.MAX_IMAGE_PIXELS == 89_478_485


def test_an_image_just_below_the_limit_is_decoded():
    """One row: the limit is a number of pixels, not of rows or columns."""
    width = 60_000
    assert width < MAX_PIXELS
    assert read(encoded(np.zeros((1, width, 3), np.uint8), "PNG")).shape == (1, width, 3)


# metadata


def exif(**others):
    made = Image.Exif()
    made[0x0112] = 6
    for tag, value in others.items():
        made[int(tag[1:])] = value
    return made


def with_raw_exif(raw):
    return encoded(pixels(), "PNG", exif=raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0nothing of a header",
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40,
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0" + bytes(4),  # text
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0" + bytes(4),  # 99
    ],
)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_broken_exif_data_spoil_no_image(format, raw):
    options = {"lossless": True} if format == "WEBP" else {}
    plain = read(encoded(pixels(), format, **options))
    np.testing.assert_array_equal(read(encoded(pixels(), format, exif=raw, **options)), plain)


def test_an_orientation_is_obeyed_though_the_other_tags_cannot_be_written_again():
    """A rational number where text is expected is a tag that Pillow reads and cannot write."""
    entries = [(0x0112, 3, 1, struct.pack("<HH", 6, 0)), (0x010E, 3, 1, struct.pack("<HH", 7, 0))]
    raw = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    raw += b"".join(struct.pack("<HHI", *head) + value for *head, value in sorted(entries))
    data = encoded(pixels(), "PNG", exif=raw + bytes(4))
    np.testing.assert_array_equal(read(data), np.rot90(pixels(), -1))


def chunks_of(data):
    at, found = 8, []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


@pytest.mark.parametrize(
    ("kind", "body", "wrong"),
    [
        (b"tEXt", b"a\0b", True),
        (b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 24)), False),  # text of 16 MB
        (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(1 << 24)), False),
        (b"iCCP", b"a\0\1", False),
        (b"pHYs", b"\0", False),
        (b"gAMA", b"", False),
        (b"cHRM", b"\0", False),
        (b"sRGB", b"", False),
        (b"eXIf", b"II*\0", True),
    ],
)
def test_broken_chunks_of_metadata_spoil_no_png_image(kind, body, wrong):
    head, *rest = chunks_of(encoded(pixels(), "PNG"))
    data = joined([head, (kind, body), *rest], [kind] if wrong else [])
    np.testing.assert_array_equal(read(data), pixels())


def test_the_orientation_beside_a_broken_chunk_is_obeyed():
    head, *rest = chunks_of(encoded(pixels(), "PNG", exif=exif()))
    assert [kind for kind, _ in rest].count(b"eXIf") == 1
    data = joined([head, (b"tEXt", b"a\0b"), *rest], [b"tEXt"])
    np.testing.assert_array_equal(read(data), np.rot90(pixels(), -1))


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT"])
def test_broken_pixels_are_still_an_error(kind):
    chunks = [(k, b"x" * (k == kind) + body) for k, body in chunks_of(encoded(pixels(), "PNG"))]
    assert refusal(joined(chunks)).startswith("cannot read the image a.png (")


@pytest.mark.parametrize(
    ("tag", "compression"),
    [(282, "raw"), (282, "tiff_lzw"), (700, "tiff_lzw"), (34665, "raw"), (34853, "raw")],
)
def test_broken_tags_of_metadata_spoil_no_tiff_image(tag, compression):
    """The resolution, the places of EXIF and GPS data, and XMP: an unknown type far away."""
    value = {282: 72.0, 700: b"<x/>"}.get(tag, {0x0112: 1})
    made = Image.fromarray(pixels())
    info = made.getexif()
    if tag in (34665, 34853):
        info.get_ifd(tag)[1] = "N"
        info[tag] = info.get_ifd(tag)
    else:
        info[tag] = value
    written = io.BytesIO()
    made.save(written, "TIFF", exif=info, compression=compression)
    data = bytearray(written.getvalue())
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    places = [start + 2 + 12 * k for k in range(count)]
    [at] = [at for at in places if struct.unpack_from("<H", data, at)[0] == tag]
    for kind, n, offset in ((4, 1, 0xFFFFFFF0), (5, 1, 0xFFFFFFF0), (12, 1000, 2)):
        struct.pack_into("<HII", data, at + 2, kind, n, offset)
        np.testing.assert_array_equal(read(bytes(data)), pixels())


def test_metadata_of_a_png_image_that_pillow_can_read_change_nothing():
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b", zip=True)
    data = encoded(pixels(), "PNG", pnginfo=info, icc_profile=b"any", dpi=(72, 72))
    np.testing.assert_array_equal(read(data), pixels())
