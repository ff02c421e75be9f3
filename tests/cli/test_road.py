"""The road from files of one's own to a judged map: chips, train, map, evaluate --map."""

import json

import geopandas as gpd
import pandas as pd
import pytest

from helpers.models import TINY_KNOBS
from rtslib.cli.main import main
from rtslib.cli.maps import _totals
from rtslib.data.opening import open_chips
from rtslib.synthetic.own import write_own_files
from rtslib.training.runs import Run


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:rasterio.*")
def test_four_commands_lead_from_files_to_a_judged_map(tmp_path, capsys):
    write_own_files(tmp_path / "known", 160, seed=1)
    write_own_files(tmp_path / "new", 96, seed=2)
    known, new = (
        [w for n in ("rgb", "nir", "dem") for w in ("--source", str(tmp_path / place / f"{n}.tif"))]
        for place in ("known", "new")
    )
    truth, chips, run, out = (str(tmp_path / name) for name in ("known/slumps.gpkg", "chips", "run", "map"))
    cut = ["--truth", truth, "--size", "32", "--group-by", "0.128", "--keep-empty", "1", "--out", chips]
    assert main(["chips", *known, *cut]) == 0
    assert len(open_chips(chips).chips) > 15 and pd.read_csv(tmp_path / "chips" / "chips.csv")["cut"].sum() > 0
    knobs = [word for knob in TINY_KNOBS for word in ("--set", knob)]
    assert main(["train", "--data", chips, "--out", run, *knobs]) == 0
    assert set(Run(tmp_path / "run").config.modalities) == {"rgb", "spectral", "terrain"}
    assert main(["map", "--run", run, *new, "--window", "64", "--overlap", "32", "--score", "0", "--out", out]) == 0
    mapped = gpd.read_file(tmp_path / "map" / "detections.gpkg")
    assert len(mapped) and mapped.crs == "EPSG:3413"
    capsys.readouterr()
    judged = ["--map", f"{out}/detections.gpkg", "--truth", str(tmp_path / "new" / "slumps.gpkg"), "--json"]
    assert main(["evaluate", *judged]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["detections"] == len(mapped) and scores["known"] >= 1


def test_totals_are_said_where_the_ledger_tells_no_area(tmp_path):
    """A run's own ledger is of chips: it tells how many slumps there are, not how large they are."""
    said = {"ground_count": 9, "ground_count_low": 4, "ground_count_high": 20, "recall": 0.4, "ground_area_m2": None,
            "ground_area_low": None, "ground_area_high": None}  # fmt: skip
    (tmp_path / "totals.json").write_text(json.dumps(said))
    assert _totals(tmp_path).endswith("there are 9 (95 %: 4 to 20); how large they are together, chips do not tell")
    known = {"ground_area_m2": 50_000, "ground_area_low": 20_000, "ground_area_high": 90_000}
    (tmp_path / "totals.json").write_text(json.dumps(said | known))
    assert _totals(tmp_path).endswith("there are 9 (95 %: 4 to 20), 5.00 ha (2.00 to 9.00)")
