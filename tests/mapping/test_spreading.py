"""Maps that are stopped, resumed, spread over processes, or cannot be written."""

import errno
import os
import signal
import time

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from dask.distributed import Client, LocalCluster

from helpers.maps import CONFIG, Slow, Threshold, blobs, map_scene, map_slowly, on_ground, write
from helpers.workers import warm_workers  # noqa: F401 (fixture)
from rtslib.config import Config
from rtslib.errors import ConfigError, DataError, MissingModalityError, OutputError, WeightsError
from rtslib.files import read_json
from rtslib.mapping import spreading
from rtslib.mapping.maps import MANIFEST, PLAN_FILE, SHARDS
from rtslib.mapping.plan import Block, Options
from rtslib.mapping.polygons import MAP_FILE, PARQUET_FILE
from rtslib.mapping.spreading import FromRun, Spread
from rtslib.models.tta import Turned
from rtslib.training.cluster import client
from rtslib.training.runs import Run

KNOBS = {"window": 64, "overlap": 24, "block": 2, "batch_size": 2}  # 6 x 6 windows in 9 blocks


@pytest.fixture
def scene(tmp_path):
    return blobs(tmp_path / "scene")


@pytest.fixture
def whole_map(scene, tmp_path):
    """The map of a run that nothing disturbed: its GeoParquet, byte by byte."""
    got = map_scene(Threshold(), CONFIG, scene, tmp_path / "whole", **KNOBS)
    assert len(got) > 10 and got.attrs["counts"]["blocks"] == 9
    return (tmp_path / "whole" / PARQUET_FILE).read_bytes()


class Stops(Threshold):
    """Gives up at a batch."""

    def __init__(self, batch):
        super().__init__()
        self.left = batch

    def forward(self, batch):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return super().forward(batch)


def markers(out):
    return sorted(p.name for p in (out / SHARDS).glob("*.done"))


def test_a_stopped_map_goes_on_and_ends_the_same(scene, tmp_path, whole_map):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        map_scene(Stops(8), CONFIG, scene, out, **KNOBS)
    there = markers(out)
    assert 1 <= len(there) < 9 and not (out / MAP_FILE).exists()
    with pytest.raises(OutputError, match=r"holds a map that was stopped: resume it \(--resume\), or overwrite it"):
        map_scene(Threshold(), CONFIG, scene, out, **KNOBS)
    assert markers(out) == there
    model = Threshold()
    got = map_scene(model, CONFIG, scene, out, resume=True, **KNOBS)
    assert got.attrs["counts"]["blocks_resumed"] == len(there) and sum(model.batches) == 36 - 4 * len(there)
    assert (out / PARQUET_FILE).read_bytes() == whole_map
    assert not (out / SHARDS).exists() and not (out / PLAN_FILE).exists() and (out / MANIFEST).exists()
    with pytest.raises(OutputError, match="exists: choose another folder"):
        map_scene(Threshold(), CONFIG, scene, out, **KNOBS)


def test_a_map_killed_outright_goes_on(scene, tmp_path, whole_map, warm_workers):
    out = tmp_path / "out"
    process = warm_workers.Process(target=map_slowly, args=(0.2, scene, out, KNOBS))
    process.start()
    deadline = time.monotonic() + 120
    while len(list((out / SHARDS).glob("*.done"))) < 2 and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert 2 <= len(markers(out)) < 9
    map_scene(Threshold(), CONFIG, scene, out, resume=True, **KNOBS)
    assert (out / PARQUET_FILE).read_bytes() == whole_map


def test_windows_turned_make_the_same_map_of_a_model_that_knows_no_up(scene, tmp_path, whole_map):
    """A map that was begun with turned windows goes on with turned ones alone, and the other way round."""

    def turned(model):
        model.config = CONFIG
        return Turned(model.eval())

    out, tta = tmp_path / "out", CONFIG.updated(tta=True)
    with pytest.raises(KeyboardInterrupt):
        map_scene(turned(Stops(60)), tta, scene, out, **KNOBS)
    there = markers(out)
    assert 1 <= len(there) < 9
    with pytest.raises(OutputError, match="cannot be resumed, as config_sha256, tta changed"):
        map_scene(Threshold(), CONFIG, scene, out, resume=True, **KNOBS)
    got = map_scene(turned(Threshold()), tta, scene, out, resume=True, **KNOBS)
    assert got.attrs["counts"]["blocks_resumed"] == len(there) and (out / PARQUET_FILE).read_bytes() == whole_map
    assert read_json(out / MANIFEST)["plan"]["tta"] is True


def test_a_worker_turns_its_windows_if_told_to(tmp_path, monkeypatch):
    def load(run):
        model = Threshold().eval()
        model.config = CONFIG
        return model

    monkeypatch.setattr(spreading, "load_onto_device", load)
    told, other = (FromRun(str(tmp_path), tta=tta)() for tta in (True, False))
    assert isinstance(told, Turned) and isinstance(other, Threshold)
    assert FromRun("a", "b", True) != FromRun("a", "b")  # else a worker would take what it has loaded


def test_a_map_does_not_go_on_with_something_else(scene, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        map_scene(Stops(8), CONFIG, scene, out, provenance={"model_sha256": "a"}, **KNOBS)
    there = markers(out)
    for change, said in (({"overlap": 16}, "options.overlap"), ({"provenance": {"model_sha256": "b"}}, "model_sha256")):
        with pytest.raises(OutputError, match=f"cannot be resumed, as {said}"):
            map_scene(
                Threshold(), CONFIG, scene, out, resume=True, **{"provenance": {"model_sha256": "a"}, **KNOBS, **change}
            )
    for knobs in ({"temperature": 2.0}, {"score_thresh": 0.2}):  # else half of the scores would mean something else
        with pytest.raises(OutputError, match="cannot be resumed, as config_sha256 changed"):
            map_scene(Threshold(), CONFIG.updated(**knobs), scene, out, resume=True,
                      provenance={"model_sha256": "a"}, **KNOBS)  # fmt: skip
    with rasterio.open(scene / "dem.tif", "r+") as dem:
        dem.write(dem.read() + 1)
    with pytest.raises(OutputError, match=r"cannot be resumed, as files\..*dem.tif changed"):
        map_scene(Threshold(), CONFIG, scene, out, resume=True, provenance={"model_sha256": "a"}, **KNOBS)
    with pytest.raises(OutputError, match="choose one"):
        map_scene(Threshold(), CONFIG, scene, out, resume=True, overwrite=True, **KNOBS)
    assert markers(out) == there
    assert len(map_scene(Threshold(), CONFIG, scene, out, overwrite=True, **KNOBS)) > 10


def test_a_broken_shard_is_made_again(scene, tmp_path, whole_map):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        map_scene(Stops(10), CONFIG, scene, out, **KNOBS)
    first, *_ = markers(out)
    shard = out / SHARDS / first.replace(".done", ".npz")
    shard.write_bytes(shard.read_bytes()[:40])
    model = Threshold()
    map_scene(model, CONFIG, scene, out, resume=True, **KNOBS)
    assert sum(model.batches) == 36 - 4 * (len([first, *_]) - 1)
    assert (out / PARQUET_FILE).read_bytes() == whole_map


def test_a_full_disk_loses_nothing(scene, tmp_path, whole_map, monkeypatch):
    out, save, calls = tmp_path / "out", np.savez_compressed, []

    def full(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(*args, **kwargs)

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OutputError, match="No space left on device"):
        map_scene(Threshold(), CONFIG, scene, out, **KNOBS)
    assert len(markers(out)) == 3 and not list((out / SHARDS).glob(".part*"))
    map_scene(Threshold(), CONFIG, scene, out, resume=True, **KNOBS)
    assert (out / PARQUET_FILE).read_bytes() == whole_map


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(scene, tmp_path):
    (tmp_path / "file").write_text("in the way")
    model = Threshold()
    with pytest.raises(OutputError, match="cannot write"):
        map_scene(model, CONFIG, scene, tmp_path / "file" / "out", **KNOBS)
    assert not model.batches


def test_an_area_of_interest(scene, tmp_path):
    area = on_ground(0, 0, 100, 100)
    every = map_scene(Threshold(), CONFIG, scene, tmp_path / "all", **KNOBS)
    model = Threshold()
    got = map_scene(model, CONFIG, scene, tmp_path / "some", area=area, **KNOBS)
    assert 0 < len(got) < len(every) and sum(model.batches) == 9  # windows that begin at 0, 40 and 80
    assert got.intersects(area).all()
    inside = every[every.within(area)]
    assert len(inside) and all(any(g.equals(h) for h in got.geometry) for g in inside.geometry)
    with pytest.raises(DataError, match="area of interest"):
        map_scene(Threshold(), CONFIG, scene, tmp_path / "none", area=on_ground(900, 900, 950, 950), **KNOBS)


def test_the_probability_map_shows_the_best_of_all_windows(scene, tmp_path):
    got = map_scene(Threshold(), CONFIG, scene, tmp_path / "out", probability=True, **KNOBS)
    with rasterio.open(tmp_path / "out" / "probability.tif") as file, rasterio.open(scene / "dem.tif") as dem:
        assert file.shape == dem.shape and file.crs == dem.crs and file.transform == dem.transform
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and file.descriptions == ("slump_probability",)
        best, z = file.read(1) * file.scales[0], dem.read(1)
    assert np.abs(best - np.where(z > 5, z / 10, 0)).max() < 0.003
    assert len(got) and not list((tmp_path / "out").glob(".part*"))


class Either(Threshold):
    """Thresholds whichever modality is valid."""

    def forward(self, batch):
        any_valid = torch.stack(list(batch["valid"].values())).any(0)
        best = torch.stack([i[:, 0] for i in batch["images"].values()]).amax(0)
        return super().forward({**batch, "images": {"x": best[:, None]}, "valid": {"x": any_valid}})


def test_polygons_say_which_modalities_were_there(tmp_path):
    """Terrain ends at column 100: the left slump has both modalities, the right one, beyond it, shade alone."""
    config = Config(modalities={"shade": ["shaded_relief"], "terrain": ["relative_elevation"]})
    both = np.zeros((64, 200), dtype=np.float32)
    both[10:20, 10:40], both[10:20, 150:180] = 9, 8
    terrain = both.copy()
    terrain[:, 100:] = -999
    write(tmp_path / "s" / "dem.tif", terrain)
    write(tmp_path / "s" / "shade.tif", both, "shaded_relief")
    got = map_scene(Either(), config, tmp_path / "s", tmp_path / "out", **KNOBS)
    assert got["modalities"].tolist() == ["shade+terrain", "shade"] and not got["touches_nodata"].any()
    (tmp_path / "s" / "dem.tif").unlink()
    got = map_scene(Either(), config, tmp_path / "s", tmp_path / "less", **KNOBS)
    assert got["modalities"].tolist() == ["shade", "shade"] and (got["valid_terrain"] == 0).all()
    (tmp_path / "s" / "shade.tif").unlink()
    write(tmp_path / "s" / "dem.tif", terrain, "ndvi")
    with pytest.raises(ConfigError, match="there is no shaded_relief"):
        map_scene(Either(), config, tmp_path / "s", tmp_path / "none", **KNOBS)
    (tmp_path / "s" / "dem.tif").unlink()
    write(tmp_path / "s" / "nir.tif", both, "nir")
    alone = Config(modalities={"shade": ["shaded_relief"], "nir": ["nir"]})
    with pytest.raises(MissingModalityError, match="primary"):
        map_scene(Either(), alone, tmp_path / "s", tmp_path / "none", **KNOBS)


def test_polygons_say_how_much_of_each_modality_was_there(tmp_path):
    """Terrain ends at column 100; half, all and nothing of three slumps lie beyond, the first across windows' seams."""
    config = Config(modalities={"shade": ["shaded_relief"], "terrain": ["relative_elevation"]})
    both = np.zeros((64, 200), dtype=np.float32)
    both[10:20, 85:115], both[40:50, 150:180], both[40:50, 10:40] = 9, 8, 7
    terrain = both.copy()
    terrain[:, 100:] = -999
    write(tmp_path / "s" / "dem.tif", terrain)
    write(tmp_path / "s" / "shade.tif", both, "shaded_relief")
    for window in (32, 64, 200):
        out = tmp_path / f"out{window}"
        got = map_scene(Either(), config, tmp_path / "s", out, window=window, overlap=window // 4)
        assert got["valid_shade"].tolist() == [1, 1, 1] and got["valid_terrain"].tolist() == [0.5, 0, 1]
        assert got["modalities"].tolist() == ["shade+terrain", "shade", "shade+terrain"]
    assert gpd.read_file(out / "detections.gpkg")["valid_terrain"].tolist() == [0.5, 0, 1]


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_make_the_same_map_also_when_one_is_killed(scene, tmp_path, whole_map, warm_workers, workers):
    knobs = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    with LocalCluster(n_workers=workers, **knobs) as cluster, Client(cluster) as there:
        assert len(there.nthreads()) == workers
        spread, killed = Spread(Slow(0.1), scheduler=cluster.scheduler_address), []

        def kill_one(done, windows):
            if not killed:
                pids = there.run(os.getpid)
                killed.append(next(iter(pids.values())))
                os.kill(killed[0], signal.SIGKILL)

        got = map_scene(spread, CONFIG, scene, tmp_path / "out", progress=kill_one, **KNOBS)
    assert killed and got.attrs["counts"]["blocks"] == 9
    assert (tmp_path / "out" / PARQUET_FILE).read_bytes() == whole_map


def test_a_worker_that_lives_on_loads_what_has_changed(tmp_path, monkeypatch):
    """A worker of a cluster outlives a run that is trained anew in the same folder."""
    (run := Run(tmp_path)).weights.write_bytes(b"first")
    CONFIG.save(tmp_path / "config.json")
    loaded, judged = [], []
    monkeypatch.setattr(
        spreading, "load_onto_device", lambda run: loaded.append(run.weights.read_bytes()) or loaded[-1]
    )
    monkeypatch.setattr(spreading, "run_blocks", lambda model, *rest: judged.append(model) or rest[-1]({}))
    monkeypatch.setattr(spreading, "_LOADED", {})

    def judge(load):
        return spreading._do(load, None, Block(0, ()), str(tmp_path / "shards"), 1)

    before = FromRun(str(run), run.digest)
    judge(before)
    judge(before)
    run.weights.write_bytes(b"again")
    judge(FromRun(str(run), run.digest))
    assert loaded == [b"first", b"again"] and judged == [b"first", b"first", b"again"]
    with pytest.raises(WeightsError, match="changed since the map began"):
        judge(before)
    old = run.digest
    CONFIG.updated(temperature=2.0).save(tmp_path / "config.json")
    assert run.digest != old


def test_a_map_that_could_not_begin_leaves_nothing_to_resume(scene, tmp_path):
    """So that the command, put right, is not refused."""
    with pytest.raises(ConfigError, match="workers=0"):
        map_scene(Spread(Slow(), workers=0), CONFIG, scene, tmp_path / "out", **KNOBS)
    assert not (tmp_path / "out" / PLAN_FILE).exists()
    map_scene(Threshold(), CONFIG, scene, tmp_path / "out", **KNOBS)


def test_a_local_cluster_by_default_and_errors_of_workers_are_ours(scene, tmp_path, whole_map, request):
    map_scene(Spread(Slow(), workers=2), CONFIG, scene, tmp_path / "out", **KNOBS)
    assert (tmp_path / "out" / PARQUET_FILE).read_bytes() == whole_map
    request.getfixturevalue("warm_workers")
    with client(1) as there:
        assert len(there.nthreads()) == 1
    bad = np.full((64, 64), 5000, dtype=np.float32)  # metres of relative elevation that none can have
    write(tmp_path / "bad" / "dem.tif", bad)
    with pytest.raises(DataError, match="relative_elevation 5000"):
        map_scene(Spread(Slow(), workers=1), CONFIG, tmp_path / "bad", tmp_path / "bad_out", **KNOBS)


def test_the_files_open_in_gdal(scene, tmp_path):
    said = {"run_id": "abc", "model_sha256": "0" * 64, "image_date": "2024-07-15"}
    map_scene(Threshold(), CONFIG, scene, tmp_path / "out", provenance=said, **KNOBS)
    back = gpd.read_file(tmp_path / "out" / MAP_FILE)
    assert back.is_valid.all() and set(back.geom_type) == {"MultiPolygon"} and back.crs == "EPSG:32608"
    assert {k: set(back[k]) for k in said} == {k: {v} for k, v in said.items()}


def test_options_out_of_range():
    for bad in ({"window": 0}, {"overlap": 256}, {"score": -0.1}, {"batch_size": 0}, {"block": 0}):
        with pytest.raises(ConfigError):
            Options(**bad)
