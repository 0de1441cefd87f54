"""Copies of image files without their metadata, for images whose metadata Pillow cannot read."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

PNG = b"\x89PNG\r\n\x1a\n"
PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""Chunks that pixels depend on."""
TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
TIFF_TAGS = {254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317}
TIFF_TAGS |= {320, 321, 322, 323, 324, 325, 332, 338, 339, 347, 512, 513, 514, 519, 520, 521, 530}
"""Tags that pixels and their orientation depend on."""


def without_metadata(file: BinaryIO) -> bytes | None:
    """Return the bytes of a PNG or TIFF image without what its pixels do not depend on.

    Returns None for other formats, whose metadata Pillow does not parse, and for broken files.
    """
    start = file.read(8)
    try:
        if start == PNG:
            return _png(file)
        if start[:4] in TIFF_ORDERS:
            return _tiff(start + file.read(), TIFF_ORDERS[start[:4]])
    except (struct.error, IndexError):
        pass
    return None


def _png(file: BinaryIO) -> bytes:
    kept = [PNG]
    while head := file.read(8):
        length, kind = struct.unpack(">I4s", head)
        body, check = file.read(length), file.read(4)
        # the orientation is kept if it is intact
        intact = kind == b"eXIf" and check == struct.pack(">I", zlib.crc32(kind + body))
        if kind in PNG_CHUNKS or intact:
            kept += [head, body, check]
    return b"".join(kept)


def _tiff(data: bytes, order: str) -> bytes:
    """Keep the entries of the first directory that are needed; their order stays."""
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    entries = [data[start + 2 + 12 * k : start + 14 + 12 * k] for k in range(count)]
    kept = [entry for entry in entries if struct.unpack(f"{order}H", entry[:2])[0] in TIFF_TAGS]
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:start] + directory + data[start + len(directory) :]
