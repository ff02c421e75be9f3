"""Tables that describe a data set."""

import numpy as np
import pytest

from helpers.trained import data  # noqa: F401 (fixture)
from rtslib.data import tables
from rtslib.data.opening import open_chips
from rtslib.data.splits import split_by_group


def test_tables_say_what_the_chips_hold(data):
    chips = open_chips(data)
    split = split_by_group(chips)
    listed = tables.instances_table(chips, split)
    assert sorted(listed["area_px"]) == sorted(i.area for c in split["chip"] for i in chips.instances[c])
    train = [c for c in chips.chips if c.id in set(split["chip"][split["side"] == "train"])]
    bands = tables.bands_table(chips, train, {"mine": ["green", "relative_elevation"]})
    green = np.concatenate([chips.read(c)[1].ravel() for c in train])
    voids = np.concatenate([np.isnan(chips.read(c)[4]).ravel() for c in train])
    assert list(bands["band"]) == ["green", "relative_elevation"] and bands["unit"][1] == "m"
    assert bands["mean"][0] == pytest.approx(np.nanmean(green), rel=1e-4)
    assert bands["nodata_percent"][1] == pytest.approx(100 * voids.mean())
