"""Images: JPEG and PNG files as RGB counts, or the reason why a file is none.

What a file is stands in its first bytes, not in its name: a PNG named .jpg is read as the PNG that it is. Chips have
three bands of 8 or of 16 bits; grey, palette, CMYK, transparent and animated images are refused, as each would need a
guess at what their numbers mean.

An *orientation* is a tag of cameras (EXIF 274) that says how the stored pixels are to be turned before they are shown.
Drawing tools differ in whether they turn. Where an outline was drawn, the listed size tells: pixels are turned if only
the turned size is the listed one, read as stored if only the stored size is, and refused if both are (a square, or a
half turn). Where nothing was drawn they are turned.

Sources: PNG (W3C 2025) 11.2.1 for the bit depth, EXIF 2.32 (CIPA DC-008) for orientation, CIPA DC-007 for JPEGs with
several pictures, whose first is the main one. Pillow reads 16-bit PNGs as 8-bit (python-pillow/Pillow 1888); GDAL does
not.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from rtslib.errors import DataError, one_line

#: Endings of images that a folder is searched for.
SUFFIXES = (".jpg", ".jpeg", ".png")

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 274
_AS_DRAWN = "save it without the tag, turned as it was drawn on"


class Header(NamedTuple):
    """What an image says before it is decoded: size as stored, px; bits a band; orientation 1 to 8."""

    height: int
    width: int
    bits: int
    orientation: int

    @property
    def turned(self) -> tuple[int, int]:
        """Height and width when turned as the orientation says."""
        return (self.width, self.height) if self.orientation > 4 else (self.height, self.width)


def read_header(path: Path) -> Header:
    """Read what an image is without decoding it.

    Raises:
        DataError: no JPEG or PNG, or one that is not RGB, is transparent or moves.
    """
    with _open(path) as image:
        return _header(path, image)


def is_turned(path: Path, header: Header, listed: tuple[int, int] | None) -> bool:
    """Tell whether an image is read turned; see the module's text.

    Args:
        path: for errors.
        header: of the image.
        listed: height and width that the annotation file says, px; None: there is none.

    Raises:
        DataError: neither the stored nor the turned size is the listed one, or both are.
    """
    stored, turned = (header.height, header.width), header.turned
    if header.orientation == 1 and listed in (None, stored):
        return False
    if listed is None:
        return True
    if listed not in (stored, turned):
        raise DataError(
            path, f"{stored[0]} x {stored[1]} px (height x width)", f"{listed[0]} x {listed[1]} px as listed"
        )
    if stored == turned:
        found = f"an EXIF orientation of {header.orientation}, whose turn leaves the size as it is"
        raise DataError(path, found, "an image that needs no turning", _AS_DRAWN)
    return listed == turned


def read_rgb(path: Path, listed: tuple[int, int] | None) -> np.ndarray:
    """Read an image.

    Args:
        path: a JPEG or PNG file.
        listed: as for `is_turned`.

    Returns:
        float32 (3, H, W): red, green, blue counts from 0 to 255, or to 65535 of 16 bits.

    Raises:
        DataError: as `read_header` and `is_turned`, or the file is damaged.
    """
    with _open(path) as image:
        try:
            image.load()
            pixels = np.asarray(image)
        except Exception as e:  # damaged bytes make Pillow's readers raise many kinds
            found = f"pixels that cannot be read ({one_line(e)})"
            raise DataError(path, found, "a whole image", "copy or download it again") from e
        header = _header(path, image)  # a PNG may have its orientation behind its pixels
    if header.bits == 16:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="PNG") as file:
                pixels = np.moveaxis(file.read(), 0, -1)
    if is_turned(path, header, listed):
        pixels = turn(pixels, header.orientation)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels (H, W, C) as an orientation from 1 to 8 says; 5 to 8 swap height and width."""
    quarters = {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}.get(orientation, 0)  # counterclockwise
    turned = np.rot90(pixels, quarters)
    return turned[:, ::-1] if orientation in (2, 4, 5, 7) else turned


def _open(path: Path) -> Image.Image:
    """Open a JPEG or PNG. Raises DataError that says what it is instead."""
    try:
        return Image.open(path, formats=("JPEG", "PNG"))
    except Exception as e:  # as in read_rgb
        found, fix = f"no readable image ({one_line(e)})", ""
        if kind := _kind(path):
            found = f"no readable image, but a {kind}"
        if kind == "TIFF":
            fix = "GeoTIFFs with a COCO file become chips of layout geotiff as docs/your_data.md shows"
        raise DataError(path, found, "a JPEG or PNG file", fix) from e


def _kind(path: Path) -> str:
    """Return the format of another kind of image, or an empty string."""
    try:
        with open(path, "rb") as file:
            if file.read(4) in _TIFF:
                return "TIFF"
        with Image.open(path) as image:
            return "" if image.format in ("JPEG", "PNG") else str(image.format)
    except Exception:  # it is none that Pillow knows, which is the answer
        return ""


def _header(path: Path, image: Image.Image) -> Header:
    """Check what an open image is. Raises DataError as `read_header`."""
    found = fix = ""
    if image.mode != "RGB":
        found, fix = f"an image of mode {image.mode}", f"convert it: {_fix(image.mode)}"
    elif "transparency" in image.info:
        found, fix = "a transparent colour", f"convert it: {_fix('RGBA')}"
    elif image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        found, fix = f"an animation of {image.n_frames} pictures", "save one picture"  # type: ignore[attr-defined]
    if found:
        raise DataError(path, found, "8-bit RGB, or 16-bit", fix)
    orientation = Image.Image.getexif(image).get(_ORIENTATION, 1)  # PngImageFile's own would decode the pixels
    if orientation not in range(1, 9):
        orientation = 1
    return Header(image.height, image.width, _bits(path) if image.format == "PNG" else 8, orientation)


def _bits(path: Path) -> int:
    """Return the bits a band of a PNG: the ninth byte of its first chunk's data."""
    with open(path, "rb") as file:
        return file.read(25)[24]


def _fix(mode: str) -> str:
    """Say how an image of another mode becomes RGB."""
    if mode in ("RGBA", "LA", "PA"):
        return "drop the alpha band, in Pillow image.convert('RGB')"
    if mode in ("1", "L") or mode.startswith(("I", "F")):
        return "one band is not colour; bring all three, scaled to 0-255"
    return "in Pillow image.convert('RGB')"
