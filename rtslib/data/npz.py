"""Chips in npz files: reading them, and refusing damaged ones before any pixel is used.

An *npz* is a zip of arrays, each an `npy` member: a short header with type and shape, then the pixels.
A chip's npz holds one array `image`, height x width x 8 (HWC), bands in the order of `CHALLENGE_BANDS`,
of any real type. Zip directory and array header are quick to read (`check_npz`: under a millisecond), and
that finds truncated, pickled and misshapen files when a folder is opened; `read_npz` checks the values.

Formats: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html; 2026 GeoAI Arctic Challenge.
"""

import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from rtslib.bands import BANDS, CHALLENGE_BANDS
from rtslib.data.chips import Chip
from rtslib.errors import DataError, one_line


def read_npz(chip: Chip) -> np.ndarray:
    """Read the pixels of one chip and check their values.

    Returns:
        float32 (8, H, W) in the order of `CHALLENGE_BANDS`; NaN is nodata.

    Raises:
        DataError: the file is damaged or has changed since the folder was opened, holds an infinite value,
            one outside its band's range, or NaN in a band that cannot be undefined (red, green, blue).
    """
    path = chip.files[0]
    check_npz(path, chip.height, chip.width)
    try:
        with np.load(path, allow_pickle=False) as content:
            image = content["image"]
    except Exception as e:  # damaged bytes make zipfile and numpy raise a dozen kinds
        found = f"array `image` that cannot be read ({one_line(e)})"
        raise DataError(path, found, "a whole npz file", "copy or download it again") from e
    with np.errstate(over="ignore"):
        image = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    _check_values(path, image)
    return image


def check_npz(path: Path, height: int, width: int) -> None:
    """Check type and shape of the array `image` in an npz file without reading its pixels.

    Raises:
        DataError: no npz, truncated, no array `image`, pickled, not real numbers, or not (height, width, 8).
    """
    shape, dtype = _npz_header(path)
    if dtype.hasobject:
        raise DataError(path, "a pickled array", "plain numbers", "pickles can run code")
    if dtype.kind not in "uif":
        raise DataError(path, f"dtype {dtype}", "real numbers such as float32 or uint8")
    expected = (height, width, len(CHALLENGE_BANDS))
    if shape != expected:
        first = shape == (expected[2], height, width)
        raise DataError(
            path, f"array `image` of shape {shape}{', channels first' if first else ''}",
            f"{expected}: height and width as listed, {expected[2]} bands last",
            "save np.moveaxis(image, 0, -1)" if first else "",
        )  # fmt: skip


def _npz_header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and dtype of the array `image`, from the first bytes of its zip member."""
    try:
        with zipfile.ZipFile(path) as content:
            if "image.npy" not in content.namelist():
                names = [n.removesuffix(".npy") for n in content.namelist()]
                raise DataError(path, f"arrays {names}", "an array `image`")
            with content.open("image.npy") as member:
                version = npy.read_magic(member)
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, _, dtype = read(member)
                size = content.getinfo("image.npy").file_size - member.tell()
    except DataError:
        raise
    except Exception as e:  # as in read_npz
        raise DataError(path, _what_is_it(path, e), "an npz file", "copy or download it again") from e
    if not dtype.hasobject and size != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise DataError(path, f"{size} bytes of pixels", f"{shape} of {dtype}", "copy or download it again")
    return shape, dtype


def _what_is_it(path: Path, error: Exception) -> str:
    """Say what a file that is no readable npz seems to be."""
    try:
        with open(path, "rb") as file:
            start = file.read(6)
    except OSError as e:
        return e.strerror or str(e)
    if not start:
        return "an empty file"
    if start[:1] == b"\x80":
        return "a Python pickle"
    if start == b"\x93NUMPY":
        return "a single array (npy)"
    return f"{'a truncated or damaged npz' if start[:2] == b'PK' else 'no npz'} ({one_line(error)})"


def _check_values(path: Path, image: np.ndarray) -> None:
    """Check float32 (8, H, W) against the bands' rules; a hair's breadth is allowed for rounding."""
    for values, name in zip(image, CHALLENGE_BANDS, strict=True):
        band = BANDS[name]
        undefined = np.count_nonzero(np.isnan(values))
        if undefined and not band.may_be_nan:
            raise DataError(f"{path}, band {name}", f"NaN in {undefined} px", "a number in every pixel")
        slack = 1e-6 * (band.high - band.low)
        wrong = values[(values < band.low - slack) | (values > band.high + slack)]
        if wrong.size:
            raise DataError(
                f"{path}, band {name}", f"{wrong[0]:g} in {wrong.size} px",
                f"{band.low:g} to {band.high:g} ({band.unit})",
                "write nodata as NaN" if band.may_be_nan else "",
            )  # fmt: skip
