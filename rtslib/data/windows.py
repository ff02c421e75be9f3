"""Windows: the rectangles in which a raster too large for one pass is mapped, or cut into chips.

All windows of a raster have one size, so that they stack into batches. They start every
`window - overlap` pixels; the last one of a row or column is shifted inward to end at the edge, so it
overlaps more, and nothing is padded. A raster smaller than a window is one window of the raster's size.
Neighbours share a strip of at least `overlap` pixels: choose it as wide as a large slump, so that a slump
cut by one window lies whole in the next, and so that `rtslib.mapping.seams` can compare what both saw.

Source: sliding-window inference as in mapping practice (torchgeo's GridGeoSampler, rasterio's windows).
"""

from rtslib.errors import ConfigError


def starts(length: int, window: int, overlap: int) -> list[int]:
    """Return the first pixels of the windows along one side.

    Args:
        length: of the side, px.
        window: length of a window, px.
        overlap: the least number of px that neighbours share.

    Returns:
        Increasing offsets; `[0]` when the side is no longer than a window.

    Raises:
        ConfigError: a size below 1, or `overlap` not in [0, window).
    """
    if length < 1 or window < 1 or not 0 <= overlap < window:
        raise ConfigError(
            f"window={window} and overlap={overlap}: take a positive window and an overlap from 0 up to, but not "
            "including, the window"
        )
    if length <= window:
        return [0]
    return [*range(0, length - window, window - overlap), length - window]
