"""Ground measures: areas and lengths of polygons in metres on the ground, whatever CRS they come in.

A projected square metre is no square metre: UTM is off by up to 0.2 %, Web Mercator by a factor of eight at 70
degrees north. Polygons are therefore brought into an equal-area projection centred on the nearer pole (EPSG:6931,
EPSG:6932: the EASE-Grid 2.0), where areas are exact. Lengths are not: at 70 degrees they are off by up to 1.5 %
either way, at 60 degrees by 3.5 %, as the direction has it.

Source: Brodzik et al. 2012, "EASE-Grid 2.0", ISPRS Int. J. Geo-Inf. 1, 32-45; Snyder 1987, USGS PP 1395, ch. 24.
"""

import geopandas as gpd
import numpy as np
import rasterio.warp
from rasterio.crs import CRS

from rtslib.data.projecting import project
from rtslib.errors import DataError


def measure(frame: gpd.GeoDataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Measure polygons.

    Args:
        frame: polygons in any CRS, of one hemisphere.

    Returns:
        Area (m2) and perimeter (m, inner outlines included), float64 (n,) each.

    Raises:
        DataError: `frame` has no CRS.
    """
    if frame.empty:
        return np.zeros(0), np.zeros(0)
    if frame.crs is None:
        raise DataError("polygons", "no CRS", "polygons with a CRS")
    west, south, east, north = frame.total_bounds
    on_ground = project(frame, equal_area_crs(frame.crs, (west + east) / 2, (south + north) / 2)).geometry
    return on_ground.area.to_numpy(), on_ground.length.to_numpy()


def equal_area_crs(crs: object, x: float, y: float) -> str:
    """Return the equal-area CRS for a place given in `crs`: EPSG:6931 north of the equator, else EPSG:6932."""
    _, (latitude,) = rasterio.warp.transform(CRS.from_user_input(crs), CRS.from_epsg(4326), [x], [y])
    return "EPSG:6931" if latitude >= 0 else "EPSG:6932"
