"""Files: tables that are written and read back."""

import resource
import signal

import geopandas as gpd
import pandas as pd
import pytest
from shapely import box

from rtslib.errors import OutputError
from rtslib.files import save_table, whole


def test_saved_tables_read_back(tmp_path):
    frame = pd.DataFrame({"model": ["rgb"], "AP50": [1 / 3], "none": [None]})
    assert save_table(frame, tmp_path / "t" / "a.csv") is frame
    assert (tmp_path / "t" / "a.csv").read_text() == "model,AP50,none\nrgb,0.333333,\n"


def test_a_full_disk_is_one_line_also_where_gdal_writes(tmp_path):
    """Files larger than 9,000 bytes cannot be written; SQLite and GDAL say so in words of their own."""
    frame = gpd.GeoDataFrame({"score": [0.5]}, geometry=[box(0, 0, 9, 9)], crs="EPSG:3413")
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*map\.gpkg: .*: choose a writable place"):
            with whole(tmp_path / "map.gpkg") as part:
                frame.to_file(part, driver="GPKG")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_fault_of_the_disk_stays_what_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError), whole(tmp_path / "a"):
        raise ZeroDivisionError
