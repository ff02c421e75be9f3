"""Tables that describe a data set: its split, its instances, its bands.

All are pandas frames, tidy (one row a thing, units in the column names), written as CSV with six digits.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from rtslib.bands import BANDS
from rtslib.data.chips import Chip, ChipSet
from rtslib.data.statistics import band_statistics


def sides_table(chipset: ChipSet, split: pd.DataFrame) -> pd.DataFrame:
    """Count groups, chips, chips without slump, instances, and their median area (px), per side."""
    rows = []
    for side in ("train", "val", "test"):
        part = split[split["side"] == side]
        areas = [[i.area for i in chipset.instances[c]] for c in part["chip"]]
        flat = pd.Series([a for chip in areas for a in chip], dtype=float)
        rows.append({
            "side": side, "groups": part["group"].nunique(), "chips": len(part),
            "chips_without_slump": sum(not a for a in areas), "instances": len(flat),
            "median_area_px": flat.median(),
        })  # fmt: skip
    return pd.DataFrame(rows)


def instances_table(chipset: ChipSet, split: pd.DataFrame) -> pd.DataFrame:
    """List all instances of the split's chips: columns side, chip, area_px, box_width_px, box_height_px."""
    rows = [
        {"side": side, "chip": name, "area_px": i.area, "box_width_px": i.bbox[2], "box_height_px": i.bbox[3]}
        for chip, name, side in split[["chip", "name", "side"]].itertuples(index=False)
        for i in chipset.instances[chip]
    ]
    return pd.DataFrame(rows, columns=["side", "chip", "area_px", "box_width_px", "box_height_px"])


def bands_table(chipset: ChipSet, chips: Sequence[Chip], modalities: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Describe bands over chips, as normalisation uses them.

    Args:
        chipset, chips: data, and the chips to read (those that train).
        modalities: modality name -> band names.

    Returns:
        Columns modality, band, unit, mean, std (of valid pixels, in that unit), nodata_percent.

    Raises:
        DataError: a chip cannot be read, or a band has no valid pixel.
    """
    statistics = band_statistics(chipset, chips, modalities)
    void, pixels = np.zeros(len(chipset.bands)), 0
    for chip in chips:
        missing = np.isnan(chipset.read(chip))
        void += missing.sum((1, 2))
        pixels += missing[0].size
    rows = [
        {
            "modality": modality, "band": band, "unit": BANDS[band].unit if band in BANDS else "",
            "mean": statistics[modality]["mean"][i], "std": statistics[modality]["std"][i],
            "nodata_percent": 100 * void[chipset.bands.index(band)] / pixels,
        }
        for modality, bands in modalities.items()
        for i, band in enumerate(bands)
    ]  # fmt: skip
    return pd.DataFrame(rows)
