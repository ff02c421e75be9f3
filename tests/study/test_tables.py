"""The tables of a fusion study, on hand-made answers."""

import numpy as np
import pandas as pd
import pytest

from helpers.scored import truth_and_results
from rtslib.errors import ConfigError
from rtslib.evaluation.bootstrap import Drawn, ap_draws, hits
from rtslib.study import tables


def models_of(*found):
    """Hits of models on the same 12 chips of 6 groups; `found` says per model and seed which chips are found."""
    groups = {i: f"g{i % 6}" for i in range(1, 13)}
    out = {}
    for name, seeds in found:
        out[name] = {seed: hits(*truth_and_results(f), groups) for seed, f in enumerate(seeds)}
    return out


def test_gains_are_paired_and_signed():
    half, most = [True, False] * 6, [True] * 11 + [False]
    found = models_of(("data", [half, half]), ("better", [most, most]), ("same", [half, half]))
    draws = {name: ap_draws(list(h.values())) for name, h in found.items()}
    gains = tables.gain_table(found, draws, ["data", "absent"]).set_index("model")
    assert list(gains.index) == ["better", "same"] and set(gains["over"]) == {"data"}
    better = gains.loc["better"]
    assert (
        better["AP50_gain"] > 0.3
        and better["seeds_ahead"] == 1
        and better["low"] < better["AP50_gain"] < better["high"]
    )
    assert gains.loc["same", ["AP50_gain", "low", "high", "seeds_ahead"]].tolist() == [0, 0, 0, 0]


def test_models_are_compared_on_the_seeds_that_both_have():
    """The model that matters has more seeds; its further ones must not lift or lower it over another."""
    half, most = [True, False] * 6, [True] * 11 + [False]
    found = models_of(("data", [half, half, most, most]), ("few", [most, most]))
    draws = {name: ap_draws(list(h.values())) for name, h in found.items()}
    (row,) = tables.gain_table(found, draws, ["data"]).to_dict("records")
    alone = tables.gain_table({**found, "data": {s: found["data"][s] for s in (0, 1)}},
                              {**draws, "data": draws["data"].of([0, 1])}, ["data"])  # fmt: skip
    assert row == alone.iloc[0].to_dict() and row["seeds"] == 2 and row["seeds_ahead"] == 1
    found["few"] = {7: found["few"][0]}
    with pytest.raises(ConfigError, match=r"few has seeds \[7\], data \[0, 1, 2, 3\]: take some that both have"):
        tables.gain_table(found, draws, ["data"])


def test_means_are_over_seeds():
    rows = {k: [1.0, 2.0] for k in tables.AVERAGED} | {"model": ["a", "a"], "AP50": [0.2, 0.4]}
    same = ("fusion", "modalities", "parameters", "trained_parameters", "epochs", "epochs_before", "image_passes",
            "macs", "train_macs", "chips", "instances")  # fmt: skip
    at50, at25 = (Drawn(np.array([p, p]), np.array([[p - 0.1, p + 0.1]] * 2), 2) for p in (0.3, 0.5))
    table = tables.model_table(pd.DataFrame(rows | {k: [7, 7] for k in same}), {"a": at50}, {"a": at25})
    assert tuple(table.loc[0, ["AP25_low", "AP25_high"]]) == at25.interval()
    row = table.iloc[0]
    assert row["AP50"] == pytest.approx(0.3) and row["AP50_sd"] == pytest.approx(0.02**0.5) and row["seeds"] == 2
    assert (row["AP50_low"], row["AP50_high"]) == at50.interval() and row["macs"] == 7


def test_parameters_that_are_no_numbers_are_named():
    assert tables.numbers("0, 1,2", "seeds") == [0, 1, 2] and tables.numbers(3, "seeds") == [3]
    assert tables.numbers("", "folds") == []
    with pytest.raises(ConfigError, match="seeds='first': write whole numbers, such as 0,1,2"):
        tables.numbers("first", "seeds")
