"""Web Mercator for pictures and outlines of a page, also across 180 degrees.

A browser places an image by the longitudes of its corners. Of a scene across 180 degrees, EPSG:3857 would put one half
at each end of the world, and the image would be stretched round it. So it is drawn in a Mercator about its own middle,
whose coordinates are then moved to go on beyond 180, as 181 for -179; what lies over it does the same
(`rtslib.data.projecting.about`).

Source: EPSG:3857 (spherical Mercator, Snyder 1987, USGS PP 1395, ch. 7); RFC 7946, 3.1.9.
"""

import math

from affine import Affine
from rasterio.crs import CRS

from rtslib.data.grids import Grid
from rtslib.data.warp import box_in
from rtslib.errors import DataError

WEB_MERCATOR, LON_LAT = CRS.from_epsg(3857), CRS.from_epsg(4326)
#: Of the sphere of EPSG:3857, m, and how far it reaches, degrees.
RADIUS, MOST_LATITUDE = 6_378_137.0, 85.06


def mercator_of(grid: Grid) -> tuple[CRS, Affine]:
    """Return the Mercator in which a scene is warped, and what moves its coordinates into those of EPSG:3857.

    Raises:
        DataError: the scene reaches nearer to a pole than EPSG:3857 does.
    """
    west, south, east, north = box_in(grid, LON_LAT, "map.html")
    if (latitude := max(north, -south)) > MOST_LATITUDE:
        raise DataError("map.html", f"a scene up to {latitude:.1f} degrees", "one that Web Mercator can show")
    if -180 <= west and east <= 180:
        return WEB_MERCATOR, Affine.identity()
    middle = (west + east) / 2
    about = CRS.from_proj4(f"+proj=merc +a={RADIUS} +b={RADIUS} +lon_0={middle} +units=m")
    return about, Affine.translation(RADIUS * math.radians(middle), 0)


def lon_lat(x: float, y: float) -> list[float]:
    """Return [longitude, latitude], degrees, of a place in EPSG:3857; longitudes go on beyond 180."""
    return [math.degrees(x / RADIUS), math.degrees(math.atan(math.sinh(y / RADIUS)))]
