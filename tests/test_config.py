"""The flat config: defaults, overrides, refusals, round trip."""

import re

import pytest

from rtslib.config import Config
from rtslib.errors import ConfigError, DataError


def test_round_trip(tmp_path):
    config = Config().with_overrides(["epochs=3", "backbone=nano", 'modalities={"mine": ["nir", "slope"]}', "lr=1e-3"])
    config.save(tmp_path / "config.json")
    again = Config.load(tmp_path / "config.json")
    assert again == config and again.lr == 1e-3 and again.primary == "mine"


def test_a_partial_file_keeps_defaults(tmp_path):
    (tmp_path / "c.json").write_text('{"epochs": 7}')
    assert Config.load(tmp_path / "c.json") == Config(epochs=7)


@pytest.mark.parametrize(
    "pair,said",
    [
        ("epoch=3", "unknown key 'epoch'"),
        ("epochs=0", "epochs = 0"),
        ("epochs=many", "epochs = 'many'"),
        ("lr=NaN", "lr"),
        ("lr=Infinity", "lr"),
        ("backbone=huge", "backbone = 'huge'"),
        ("fusion=magic", "fusion = 'magic'"),
        ("anchor_sizes=[1,2]", "five values"),
        ("anchor_sizes=[0,1,2,3,4]", "positive"),
        ("devices=0", "devices = 0"),
        ("num_nodes=0", "num_nodes = 0"),
        ("strategy=fsdp", "strategy = 'fsdp'"),
        ("devices=3", "batch_size=8 is shared by 3 processes (devices x num_nodes): take a multiple"),
        ("cascade_ious=[]", "at least one threshold"),
        ("tree_scales=[]", "at least one positive number"),
        ("tree_scales=[3,0]", "at least one positive number"),
        ("cascade_ious=[1.5]", "between 0 and 1"),
        ("modalities={}", "no modality"),
        ('modalities={"rgb": []}', "modality 'rgb'"),
        ('modalities={"rgb": ["red", "red"]}', "modality 'rgb'"),
        ('modalities={"": ["red"]}', "modality ''"),
        ('modalities={"a.b": ["red"]}', "modality 'a.b'"),
        ("seed=99999999999999999999999", "seed"),
        ("epochs=" + "9" * 5000, "epochs"),
        ("epochs", "write key=value"),
    ],
)
def test_what_is_refused(pair, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        Config().with_overrides([pair])


@pytest.mark.parametrize("pair", ["devices=2", "num_nodes=2", "strategy=ddp"])
def test_trees_are_planted_by_one_process(pair):
    with pytest.raises(ConfigError, match="fusion=trees is planted by one process"):
        Config(fusion="trees").with_overrides([pair])


@pytest.mark.parametrize("text,error", [("[1]", ConfigError), ("{", DataError), ('{"no": 1}', ConfigError)])
def test_files_that_are_no_config(tmp_path, text, error):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(error):
        Config.load(tmp_path / "c.json")


def test_every_knob_has_one_comment():
    import inspect

    source = inspect.getsource(Config).splitlines()
    for name in Config.model_fields:
        line = next(li for li in source if li.strip().startswith(f"{name}:"))
        assert "  # " in line, name
