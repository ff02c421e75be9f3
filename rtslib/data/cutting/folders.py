"""Folders: the files of a cut set, one chip at a time, in a layout that `rtslib.data.opening` reads.

    geotiff     chips.csv, instances.csv, bands/ID.tif (float32 in physical units, NaN = nodata), instances/ID.tif
    challenge   the release's files without test chips, and metadata/chips.csv, metadata/instances.csv

All bands that the region has are written, derived ones included: they were computed with what lies around the chip, as
mapping computes them.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from affine import Affine
from rasterio.crs import CRS
from rasterio.io import MemoryFile

from rtslib.bands import BANDS, CHALLENGE_BANDS
from rtslib.data.chips import CATEGORY
from rtslib.data.layouts.geotiff import INSTANCES
from rtslib.data.masks import rle_area, rle_bbox
from rtslib.files import whole, write_json, write_text

PIXELS, CHIPS, TABLE = "bands", "chips.csv", "instances.csv"


def write_chip(
    out: Path, layout: str, name: str, bands: Sequence[str], values: np.ndarray, labels: np.ndarray,
    place: tuple[CRS, Affine], date: str = "",
) -> None:  # fmt: skip
    """Write the files of one chip, each whole or not at all.

    Args:
        out: folder of the set.
        layout: "geotiff" or "challenge".
        name: of the chip.
        bands: names of `values`.
        values: float32 (B, H, W) in physical units, NaN = nodata.
        labels: uint16 (H, W), 0 = no slump, k = slump k; the challenge's layout has them in one file of all chips.
        place: CRS and transform of the chip.
        date: of its images, for a tag.

    Raises:
        OutputError: the folder cannot be written.
    """
    if layout == "challenge":
        image = values[[bands.index(b) for b in CHALLENGE_BANDS]].transpose(1, 2, 0)
        with whole(out / "train" / "images" / f"{name}.npz") as part:
            np.savez_compressed(part, image=np.ascontiguousarray(image))
        return
    units = [BANDS[b].unit for b in bands]
    tags = {"DATE": date} if date else {}
    _write_tiff(out / PIXELS / f"{name}.tif", values, place, bands, {"nodata": np.nan, "predictor": 3}, units, tags)
    _write_tiff(out / INSTANCES / f"{name}.tif", labels[None], place, ["instance"], {}, [""], {})


def write_tables(
    out: Path, layout: str, chips: pd.DataFrame, instances: pd.DataFrame, rles: Mapping[str, list[dict]]
) -> Path:
    """Write what lists the chips, last of all: from now on the folder is a chip set.

    Args:
        out, layout: as for `write_chip`.
        chips: a row a chip, with `chip`, `group`.
        instances: a row an instance.
        rles: chip -> masks of its instances; only for the challenge's layout.

    Returns:
        Path of the table of chips.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = out / "metadata" if layout == "challenge" else out
    _write_csv(instances, folder / TABLE)
    if layout == "challenge":
        _write_release(out, chips, rles)
    _write_csv(chips, folder / CHIPS)
    return folder / CHIPS


def _write_tiff(
    path: Path, values: np.ndarray, place: tuple[CRS, Affine], names: Sequence[str], more: dict[str, Any],
    units: Sequence[str], tags: dict[str, str],
) -> None:  # fmt: skip
    profile = {"driver": "GTiff", "count": len(values), "dtype": values.dtype, "height": values.shape[1],
               "width": values.shape[2], "crs": place[0], "transform": place[1], "compress": "deflate",
               "photometric": "minisblack", "alpha": "unspecified", **more}  # fmt: skip
    with MemoryFile() as memory:  # as GDAL does not say where a full disk cut it short
        with memory.open(**profile) as file:
            file.write(values)
            file.descriptions, file.units = tuple(names), tuple(units)
            file.update_tags(**tags)
        with whole(path) as part:
            part.write_bytes(memory.getbuffer())


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with whole(path) as part:
        table.to_csv(part, index=False, float_format="%.12g")  # coordinates have more digits than most numbers


def _write_release(out: Path, chips: pd.DataFrame, rles: Mapping[str, list[dict]]) -> None:
    """Write annotations, an empty test part, band names, and manifests."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (chip, size) in enumerate(zip(chips["chip"], chips["size"]), start=1):
        images.append({"id": number, "file_name": f"{chip}.npz", "height": size, "width": size})
        for rle in rles[chip]:
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": CATEGORY["id"], "segmentation": rle,
                "bbox": list(rle_bbox(rle)), "area": rle_area(rle), "iscrowd": 0,
            })  # fmt: skip
    labels = {"images": images, "annotations": annotations, "categories": [dict(CATEGORY)]}
    write_text(out / "train" / "annotations" / "instances_train.json", json.dumps(labels))
    (out / "test" / "images").mkdir(parents=True, exist_ok=True)
    columns = ("image_id", "file_name", "height", "width", "group")
    rows = [(i["id"], i["file_name"], i["height"], i["width"], g) for i, g in zip(images, chips["group"])]
    for part, lines in (("train", rows), ("test", [])):
        with whole(out / "metadata" / f"{part}_manifest.csv") as target, open(target, "w", newline="") as file:
            csv.writer(file).writerows([columns, *lines])
    write_json(out / "metadata" / "band_names.json", list(CHALLENGE_BANDS))
