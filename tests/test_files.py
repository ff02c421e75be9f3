"""Files: tables that are written and read back."""

import pandas as pd

from rtslib.files import save_table


def test_saved_tables_read_back(tmp_path):
    frame = pd.DataFrame({"model": ["rgb"], "AP50": [1 / 3], "none": [None]})
    assert save_table(frame, tmp_path / "t" / "a.csv") is frame
    assert (tmp_path / "t" / "a.csv").read_text() == "model,AP50,none\nrgb,0.333333,\n"
