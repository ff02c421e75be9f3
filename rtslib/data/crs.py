"""CRSs: what a file may say about where it is, and which of it is used.

A CRS is *geographic* (longitude and latitude) or *projected* (map units); a *compound* one adds a vertical one for
heights, which says nothing about where a pixel lies. A *local* (engineering) CRS has no place on Earth.

Source: ISO 19111 (types of CRS), as PROJ has them.
"""

from functools import lru_cache

import pyproj
from pyproj.exceptions import CRSError
from rasterio.crs import CRS

from rtslib.errors import DataError, one_line

#: What to do about a raster's CRS.
ANEW = "if you know it, gdal_edit.py -a_srs EPSG:..."


def as_crs(crs: object) -> pyproj.CRS:
    """Return a CRS of rasterio, pyproj or a text as pyproj's. Raises pyproj's CRSError."""
    return crs if isinstance(crs, pyproj.CRS) else _parsed(crs.to_wkt() if hasattr(crs, "to_wkt") else str(crs))


def earthly(crs: pyproj.CRS) -> bool:
    """Whether a CRS says where on Earth: one of longitude and latitude, or projected from such; no local one."""
    return bool(crs.is_geographic or crs.is_projected)


def horizontal(crs: CRS, where: object) -> CRS:
    """Return a raster's CRS without its vertical part, for which heights stay as they are.

    Raises:
        DataError: it has no place on Earth.
    """
    try:
        whole = as_crs(crs)
    except CRSError as e:  # one that rasterio has, but no one else
        raise DataError(where, f"an unusable CRS ({one_line(e)})", "one such as EPSG:3413", ANEW) from e
    flat = _flat(whole)
    if not earthly(flat):
        found = f"the CRS {whole.name!r} ({whole.type_name}), which has no place on Earth"
        raise DataError(where, found, "longitude and latitude, or a projected CRS", ANEW)
    return crs if flat is whole else CRS.from_wkt(flat.to_wkt())


def same_crs(a: CRS, b: CRS) -> bool:
    """Whether two CRSs are one, whatever the words that a file has for it."""
    return a == b or as_crs(a).equals(as_crs(b), ignore_axis_order=True)


def _flat(crs: pyproj.CRS) -> pyproj.CRS:
    if crs.is_compound:
        return _flat(crs.sub_crs_list[0])
    return crs.to_2d() if crs.is_geographic and len(crs.axis_info) > 2 else crs


@lru_cache(256)
def _parsed(text: str) -> pyproj.CRS:
    return pyproj.CRS.from_user_input(text)
