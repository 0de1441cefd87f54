"""Image files: what is opened, what is refused, and how pixels become 8-bit RGB."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO

from soteacher.core.errors import UserError, shown
from soteacher.data.metadata import without_metadata

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from PIL.ImageFile import ImageFile

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of the formats that the extensions stand for. Only these are opened, whatever a
file is called: Pillow knows many others, and starts Ghostscript for some."""
SIDE = 8192
MAX_PIXELS = SIDE * SIDE
"""Number of pixels above which an image is refused. Decoded, converted and resized, an image of
this size takes almost 1 GB."""
SIXTEEN_BITS = re.compile(r";16[BLNRS]")
"""Part of Pillow's names for pixels of 16 bits per channel; Pillow would silently keep 8 bits."""
BITS_PER_SAMPLE, SAMPLE_FORMAT, UNSIGNED = 258, 339, 1
"""Tags of a TIFF image, and the value of the second one for whole numbers."""


def is_image(name: str) -> bool:
    """Return whether a file's name ends like that of an image, in upper or lower case."""
    return PurePath(name).suffix.lower() in EXTENSIONS


@contextmanager
def decoded(
    file: BinaryIO, where: str, check: Callable[[int, int], None] | None = None
) -> Iterator[Image.Image]:
    """Decode an image; an error in the `with` block is told as an error of this image, too.

    Format, size and bits are checked before anything is decoded. Metadata that Pillow cannot read
    are ignored.

    where : the path of the image, for messages.   check : called with width and height as stored;
    it may raise `UserError`.
    """
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    try:
        with warnings.catch_warnings():  # of metadata that are not valid
            warnings.simplefilter("ignore")
            Image.MAX_IMAGE_PIXELS = None  # `_open` has its own limit, which a message can name
            yield _loaded(file, where, check)
    except UserError:
        raise
    except Exception as error:  # a decoder may raise anything on broken bytes
        raise unreadable(where, error) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _loaded(file: BinaryIO, where: str, check: Callable[[int, int], None] | None) -> Image.Image:
    try:
        return _opened(file, where, check)
    except UserError:
        raise
    except Exception:
        file.seek(0)
        bare = without_metadata(file)
        if bare is None:
            raise
        try:
            return _opened(io.BytesIO(bare), where, check)
        except UserError:
            raise
        except Exception:
            pass  # the first error says more
        raise


def _opened(file: BinaryIO, where: str, check: Callable[[int, int], None] | None) -> Image.Image:
    from PIL import Image

    image = Image.open(file, formats=FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UserError(
            f"{shown(where)} has {width}x{height} pixels; expected at most {MAX_PIXELS:,} "
            f"({SIDE}x{SIDE}): scale it down, or remove it"
        )
    if check is not None:
        check(width, height)
    if _is_deep(image):
        raise UserError(
            f"{shown(where)} has more than 8 bits per channel, or signed numbers or floats (mode "
            f"{image.mode}); expected 8 bits per channel: scale it and save it with 8 bits"
        )
    image.load()
    return image


def _is_deep(image: ImageFile) -> bool:
    """Return whether pixels have more than 8 bits per channel, or are no whole numbers from 0."""
    if image.mode.startswith(("I", "F")):
        return True
    tags = getattr(image, "tag_v2", None)
    if tags is not None:  # a TIFF image
        formats = tags.get(SAMPLE_FORMAT, (UNSIGNED,))
        return max(tags.get(BITS_PER_SAMPLE, (1,))) > 8 or any(f != UNSIGNED for f in formats)
    for tile in image.tile:
        if SIXTEEN_BITS.search(str(tile[3])):
            return True
        # a decoder of PPM gets the largest value that a channel can have
        if tile[0].startswith("ppm") and isinstance(tile[3], tuple) and tile[3][-1] > 255:
            return True
    return False


def turned(image: Image.Image) -> Image.Image:
    """Return an image turned by its EXIF orientation; an orientation that is not valid is ignored.

    Pillow's own function fails if it cannot write the rest of the metadata again.
    """
    from PIL import ExifTags, Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a parser of metadata may raise anything on broken bytes
        return image
    return image if turn is None else image.transpose(turn)


def pixels(file: BinaryIO, where: str, size: int | None) -> np.ndarray:
    """Return one image as 8-bit RGB, uint8, (H, W, 3): turned, on white, resized and cropped.

    where : the path of the image, for messages.   size : height and width in pixels; None: they
    stay as they are.
    Raises `UserError` if the image cannot be read.
    """
    import numpy as np
    from PIL import Image, ImageOps

    with decoded(file, where) as image:
        image = turned(image)
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        image = image.convert("RGB")
        if size is not None:
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        return np.asarray(image)


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Return square images in a smaller size, uint8, (N, size, size, 3).

    They are resized as a whole (bilinear, antialiased), as by torchvision's `Resize` of PIL images.
    """
    import numpy as np
    from PIL import Image

    smaller = np.empty((len(images), size, size, 3), dtype=np.uint8)
    for row, image in zip(smaller, images, strict=True):
        whole = Image.fromarray(image)
        row[:] = np.asarray(whole.resize((size, size), Image.Resampling.BILINEAR))
    return smaller


def same_size(image: np.ndarray, shape: tuple[int, ...], where: str, first: str) -> np.ndarray:
    """Return an image, (H, W, 3); raise `UserError` if it has another shape than the first one."""
    if image.shape != shape:
        sizes = [f"{width}x{height}" for height, width, _ in (shape, image.shape)]
        raise UserError(
            f"{shown(first)} has {sizes[0]} pixels and {shown(where)} has {sizes[1]}; expected "
            "images of one size: set `size` to a number of pixels to resize and crop all images to "
            "it"
        )
    return image


def unreadable(where: str, error: Exception) -> UserError:
    """Return the error for an image that cannot be decoded."""
    from PIL import UnidentifiedImageError

    why = getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
    if isinstance(error, UnidentifiedImageError):  # its text has only the address of an object
        why = f"its content is not that of a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image"
    advice = "replace it with an intact copy, or remove it"
    if isinstance(error, PermissionError):  # it may be intact
        advice = "check the permissions of the file and its folders, and try again"
    elif isinstance(error, MemoryError):
        why = "this process has too little memory for it"
        advice = "use a machine with more memory, or scale the image down"
    return UserError(f"cannot read the image {shown(where)} ({why}); {advice}")
