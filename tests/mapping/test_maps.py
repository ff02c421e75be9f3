"""Mapping with a model that thresholds one band, so that the right map is known exactly."""

from pathlib import Path
from tempfile import TemporaryDirectory

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from shapely.geometry import Polygon

from helpers.maps import CONFIG, TRANSFORM, Threshold, blobs, map_scene, on_ground, write
from helpers.models import stump
from rtslib.config import Config
from rtslib.data.ground import equal_area_crs, measure
from rtslib.data.opening import open_chips
from rtslib.data.scenes import mosaic_group, open_scene
from rtslib.errors import ConfigError, DataError, OutputError, WeightsError
from rtslib.evaluation.polygons import match_polygons
from rtslib.mapping.polygons import MAP_FILE, PARQUET_FILE, columns
from rtslib.mapping.probability import PROBABILITY_FILE
from rtslib.models.trees import Trees
from rtslib.models.tta import Turned


@pytest.fixture
def scene(tmp_path):
    """200 x 150 px, 10 m: a slump over several windows, one with a hole, one at the edge, one unsure."""
    v = np.zeros((150, 200), dtype=np.float32)
    v[20:30, 10:190] = 9
    v[50:90, 50:90] = 8
    v[60:80, 60:80] = 0
    v[100:150, 180:200] = 7
    v[110:120, 20:40] = 6
    write(tmp_path / "scene" / "dem.tif", v)
    return tmp_path / "scene"


TRUTH = [
    on_ground(20, 10, 30, 190),
    on_ground(50, 50, 90, 90).difference(on_ground(60, 60, 80, 80)),
    on_ground(100, 180, 150, 200),
    on_ground(110, 20, 120, 40),
]


def test_polygons_are_the_shapes_whatever_the_windows(scene, tmp_path):
    for k, (window, overlap) in enumerate([(64, 16), (96, 48), (150, 32), (512, 0)]):
        got = map_scene(Threshold(), CONFIG, scene, tmp_path / str(k), window, overlap)
        assert tuple(got.columns) == (*columns(CONFIG.modalities), "geometry") and got.crs == "EPSG:32608"
        assert [g.equals(t) for g, t in zip(got.geometry, TRUTH, strict=True)] == [True] * 4
        assert got["score"].round(5).tolist() == [0.9, 0.8, 0.7, 0.6] and got["id"].tolist() == [1, 2, 3, 4]
        assert got["touches_edge"].tolist() == [False, False, True, False]
        assert set(got.geom_type) == {"MultiPolygon"} and got.is_valid.all()
        assert len(got.geometry[1].geoms[0].interiors) == 1
    assert got["windows"].tolist() == [1, 1, 1, 1] and got.attrs["counts"]["windows"] == 1


def test_trees_on_pixels_map_as_any_model_does(scene, tmp_path):
    stats = {"modality_mean": {"terrain": [0.0]}, "modality_std": {"terrain": [1.0]}}
    config = CONFIG.updated(fusion="trees", tree_rounds=1, tree_leaves=2, tree_scales=[2.0], **stats)
    model = Trees(config).eval()
    model.fill([stump(cut=5.0)], 0.0)
    got = map_scene(model, config, scene, tmp_path / "map", 96, 48)
    assert all(any(g.equals(t) for g in got.geometry) for t in TRUTH) and len(got) == len(TRUTH)
    assert got["score"].between(0.9, 1).all()


class Ragged(Threshold):
    """Sees every outline a little differently in every window, as a trained model does."""

    def __init__(self, seed):
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def _one(self, image, valid):
        found = super()._one(image, valid)
        masks = found["masks"].numpy().astype(bool)
        for k, mask in enumerate(masks):
            rim = mask & ~ndimage.binary_erosion(mask)
            masks[k] = mask & ~(rim & (self.rng.random(mask.shape) < 0.15))
        found["scores"] = (found["scores"] + torch.from_numpy(self.rng.uniform(-0.05, 0.05, len(masks)))).clip(0, 1)
        return {**found, "masks": torch.from_numpy(masks.astype(np.float32))}


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60), st.sampled_from([(112, 64), (128, 80), (144, 72)]))
def test_the_map_is_the_same_whatever_the_origin_of_the_windows(seed, shift, knobs):
    with TemporaryDirectory() as folder:
        folder = Path(folder)
        with rasterio.open(blobs(folder / "a", seed=seed) / "dem.tif") as dem:
            write(
                folder / "b" / "dem.tif",
                dem.read(1)[shift:, shift:],
                transform=TRANSFORM @ Affine.translation(shift, shift),
            )
        one, other = (
            map_scene(Ragged(k), CONFIG, folder / k2, folder / f"{k2}_out", *knobs) for k, k2 in ((1, "a"), (2, "b"))
        )
    away = on_ground(shift + 1, shift + 1, 255, 255)
    inner = one[one.within(away) & (one.area >= 100 * 300)]
    assert len(inner)
    for shape in inner.geometry:
        meets = other[other.intersects(shape)].geometry
        assert max(shape.intersection(g).area / shape.union(g).area for g in meets) > 0.9


class Wide(Threshold):
    """Knows slumps that are wider than tall."""

    def _one(self, image, valid):
        found = super()._one(image, valid)
        keep = found["masks"].any(1).sum(1) > found["masks"].any(2).sum(1)
        return {k: v[keep] for k, v in found.items()}


def test_turned_windows_show_what_the_model_knows_lying_otherwise(scene, tmp_path):
    plain, turned = Wide(), Wide()
    plain.config = turned.config = CONFIG
    got = map_scene(plain, CONFIG, scene, tmp_path / "plain", 512, 0)
    assert got["score"].round(5).tolist() == [0.9, 0.6]
    got = map_scene(
        Turned(turned.eval()), CONFIG.updated(tta=True), scene, tmp_path / "turned", 512, 0, probability=True
    )
    assert got["score"].round(5).tolist() == [0.45, 0.35, 0.3]  # each in four views of eight
    assert [g.equals(TRUTH[k]) for g, k in zip(got.geometry, (0, 2, 3), strict=True)] == [True] * 3
    with rasterio.open(tmp_path / "turned" / PROBABILITY_FILE) as file:
        assert file.read(1)[120, 190] == round(0.35 * 255) and file.read(1)[70, 55] == 0


def test_the_file_says_what_was_returned(scene, tmp_path):
    got = map_scene(Threshold(), CONFIG, scene, tmp_path / "out", 64, 16)
    back = gpd.read_file(tmp_path / "out" / MAP_FILE, layer="detections")
    assert back.crs == got.crs and tuple(back.columns) == (*columns(CONFIG.modalities), "geometry")
    assert back.geometry.geom_equals(got.geometry).all()
    table = gpd.read_parquet(tmp_path / "out" / PARQUET_FILE)
    assert table.crs == got.crs and table.geometry.geom_equals(got.geometry).all()
    for column in columns(CONFIG.modalities):
        assert table[column].tolist() == back[column].tolist() == got[column].tolist()
    assert back["modalities"].tolist() == ["terrain"] * 4 and not back["touches_nodata"].any()
    assert back["touches_edge"].dtype == bool and back["windows"].iloc[0] == 4


def test_areas_are_square_metres_on_the_ground(scene, tmp_path):
    """A UTM square km near the zone's middle is about 1 / 0.9996^2 = 1.0008 square km on the ground."""
    got = map_scene(Threshold(), CONFIG, scene, tmp_path / "out", 64, 16)
    pixels = np.array([1800, 1200, 1000, 200])
    np.testing.assert_allclose(got["area_m2"], pixels * 100 * 1.0008, rtol=2e-4)
    np.testing.assert_allclose(got["perimeter_m"][3], 600, rtol=0.02)


def test_area_of_one_degree_at_70_north_and_south():
    """Between two parallels and meridians a spherical patch has a known area; the ellipsoid is 0.3 % off."""
    for sign, crs in ((1, "EPSG:6931"), (-1, "EPSG:6932")):
        ring = [(x / 50, sign * 70) for x in range(51)] + [(1 - x / 50, sign * 71) for x in range(51)]
        patch = gpd.GeoDataFrame(geometry=[Polygon(ring)], crs="EPSG:4326")
        (area,), _ = measure(patch)
        sphere = 6_371_007.2**2 * np.radians(1) * (np.sin(np.radians(71)) - np.sin(np.radians(70)))
        assert area == pytest.approx(sphere, rel=0.01)
        assert equal_area_crs("EPSG:4326", 0, sign * 70) == crs


def test_pixel_to_map_and_back(scene, tmp_path):
    got = map_scene(Threshold(), CONFIG, scene, tmp_path / "out", 64, 16)
    with rasterio.open(scene / "dem.tif") as d:
        burnt = rasterio.features.rasterize(got.geometry, d.shape, transform=d.transform).astype(bool)
        assert (burnt == (d.read(1) > 5)).all()


def test_windows_without_data_are_skipped_and_counted(tmp_path):
    v = np.full((64, 256), -999, dtype=np.float32)
    v[:, :100] = 0
    v[10:30, 80:100] = 9
    write(tmp_path / "s" / "dem.tif", v)
    model, steps = Threshold(), []
    got = map_scene(model, CONFIG, tmp_path / "s", tmp_path / "out", 64, 0, batch_size=3,
                    progress=lambda done, n: steps.append((done, n)))  # fmt: skip
    counts = {"windows": 4, "skipped": 2, "pieces": 1, "duplicates": 0, "blocks": 1, "blocks_resumed": 0}
    assert got.attrs["counts"] == counts and got["touches_nodata"].tolist() == [True]
    assert sum(model.batches) == 2 and steps[-1] == (4, 4)
    assert got.geometry[0].equals(on_ground(10, 80, 30, 100))
    write(tmp_path / "empty" / "dem.tif", np.full((64, 64), -999, dtype=np.float32))
    with pytest.raises(DataError, match="no valid pixel"):
        map_scene(model, CONFIG, tmp_path / "empty", tmp_path / "out2")


def test_a_scene_smaller_than_a_window_and_one_without_slumps(tmp_path):
    v = np.zeros((40, 50), dtype=np.float32)
    write(tmp_path / "s" / "dem.tif", v)
    got = map_scene(Threshold(), CONFIG, tmp_path / "s", tmp_path / "none")
    assert len(got) == 0 and tuple(got.columns) == (*columns(CONFIG.modalities), "geometry")
    back = gpd.read_file(tmp_path / "none" / MAP_FILE)
    assert (
        len(back) == 0 and back.crs == "EPSG:32608" and tuple(back.columns) == (*columns(CONFIG.modalities), "geometry")
    )
    v[5:15, 5:25] = 9
    write(tmp_path / "s" / "dem.tif", v)
    got = map_scene(Threshold(), CONFIG, tmp_path / "s", tmp_path / "some")
    assert got.geometry[0].equals(on_ground(5, 5, 15, 25))


def test_the_score_is_a_threshold(scene, tmp_path):
    got = map_scene(Threshold(), CONFIG, scene, tmp_path / "out", 64, 16, score=0.75)
    assert got["score"].round(5).tolist() == [0.9, 0.8]


def test_a_result_is_not_overwritten_unasked(scene, tmp_path):
    out = tmp_path / "out"
    map_scene(Threshold(), CONFIG, scene, out, 64, 16)
    before = (out / MAP_FILE).read_bytes()
    with pytest.raises(OutputError, match="exists"):
        map_scene(Threshold(), CONFIG, scene, out, 64, 16)
    with pytest.raises(WeightsError, match="not finite"):
        map_scene(Threshold(nan=True), CONFIG, scene, out, 64, 16, overwrite=True)
    assert (out / MAP_FILE).read_bytes() == before
    assert len(map_scene(Threshold(), CONFIG, scene, out, 64, 16, score=0.75, overwrite=True)) == 2
    assert len(gpd.read_file(out / MAP_FILE)) == 2


def test_bad_requests_are_refused(scene, tmp_path):
    with pytest.raises(ConfigError, match="nir"):
        map_scene(Threshold(), Config(modalities={"s": ["nir"]}), scene, tmp_path / "o")
    with pytest.raises(ConfigError, match="overlap"):
        map_scene(Threshold(), CONFIG, scene, tmp_path / "o", 64, 64)
    with pytest.raises(ConfigError, match="score"):
        map_scene(Threshold(), CONFIG, scene, tmp_path / "o", score=1.5)
    with pytest.raises(DataError, match="no such folder"):
        map_scene(Threshold(), CONFIG, tmp_path / "nowhere", tmp_path / "o")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match=r"no \*.tif"):
        open_scene(tmp_path / "bare")
    assert not (tmp_path / "o").exists()


def test_truth_is_read_into_the_scene_crs_and_checked(scene):
    assert open_scene(scene).truth is None
    frame = gpd.GeoDataFrame(geometry=[TRUTH[0]], crs="EPSG:32608")
    frame.to_crs(4326).to_file(scene / "truth.gpkg")
    got = open_scene(scene).truth
    assert got.crs == "EPSG:32608" and got.geometry[0].symmetric_difference(TRUTH[0]).area < 400  # edges of 1.8 km
    gpd.GeoDataFrame(geometry=[TRUTH[0].centroid], crs="EPSG:32608").to_file(scene / "truth.gpkg")
    with pytest.raises(DataError, match="Point"):
        open_scene(scene)
    (scene / "truth.gpkg").write_bytes(b"no")
    with pytest.raises(DataError, match="vector"):
        open_scene(scene)


def score_of(found, truth, iou=0.5):
    pred = gpd.GeoDataFrame({"score": [s for s, _ in found]}, geometry=[g for _, g in found], crs="EPSG:32608")
    return match_polygons(pred, gpd.GeoDataFrame(geometry=truth, crs="EPSG:32608"), iou)


def test_matching_by_hand():
    a, b = on_ground(0, 0, 10, 10), on_ground(0, 50, 10, 60)
    half = on_ground(0, 0, 10, 5)
    s = score_of([(0.5, a), (0.9, half), (0.8, on_ground(50, 50, 60, 60))], [a, b])
    assert (s.tp, s.fp, s.fn) == (1, 2, 1) and s.pairs == ((1, 0, 0.5),)  # the better score takes the slump
    assert (s.precision, s.recall, s.f1) == (1 / 3, 0.5, 0.4)
    s = score_of([(0.5, a), (0.9, half)], [a, b], 0.75)
    assert (s.tp, s.fp, s.fn) == (1, 1, 1) and s.pairs == ((0, 0, 1.0),)
    s = score_of([], [a])
    assert (s.tp, s.fp, s.fn, s.precision, s.recall, s.f1) == (0, 0, 1, None, 0, 0)
    assert score_of([], []).f1 is None
    with pytest.raises(ConfigError):
        score_of([], [], 0)


@pytest.fixture
def chipset(tmp_path):
    """Two overlapping 32 px chips of site 7, the first with a void in the overlap; one chip of site 8.

    The second chip's grid is 0.4 px off the first one's, as real dates are: pixels move to the nearest place.
    """
    root = tmp_path / "set"
    for name, shift, group_crs in (("a", 0, "EPSG:32608"), ("b", 20.4, "EPSG:32608"), ("c", 0, "EPSG:32609")):
        t = TRANSFORM @ Affine.translation(shift, 0)
        v = np.full((32, 32), 100 + int(shift), dtype=np.int16)
        if name == "a":
            v[:16, 20:] = -32768
        mask = np.zeros((32, 32), dtype=np.uint8)
        mask[10:20, (22 if name == "a" else 0) : 32] = 1
        tags = {"scales": (0.1,), "offsets": (-2.0,), "units": ("m",)}
        write(root / "dem" / f"{name}.tif", v, crs=group_crs, transform=t, nodata=-32768, **tags)
        write(root / "mask" / f"{name}.tif", mask, "rts", group_crs, t, None)
    (root / "chips.csv").write_text("chip,group\na,7\nb,7\nc,8\n")
    return root


def test_a_mosaic_keeps_values_tags_and_truth(chipset, tmp_path):
    scene = open_scene(mosaic_group(open_chips(chipset), "7", tmp_path / "m"))
    with rasterio.open(tmp_path / "m" / "dem.tif") as d:
        assert (d.descriptions, d.scales, d.offsets, d.units, d.nodata) == (
            ("relative_elevation",), (0.1,), (-2.0,), ("m",), -32768)  # fmt: skip
        assert d.shape == (32, 52) and d.transform == TRANSFORM and d.crs == "EPSG:32608"
        v = d.read(1)
    assert (v[:, :20] == 100).all() and (v[16:, 20:32] == 100).all()
    assert (v[:16, 20:] == 120).all() and (v[:, 32:] == 120).all()
    assert scene.stack.read(["relative_elevation"])[0, 0, 0] == pytest.approx(8)
    assert len(scene.truth) == 1 and scene.truth.geometry[0].equals(on_ground(10, 22, 20, 52))


def test_a_mosaic_refuses_what_it_cannot_join(chipset, tmp_path):
    with pytest.raises(DataError, match="no group '9'"):
        mosaic_group(open_chips(chipset), "9", tmp_path / "m")
    (chipset / "chips.csv").write_text("chip,group\na,7\nb,7\nc,7\n")
    with pytest.raises(DataError, match="EPSG:32608, EPSG:32609"):
        mosaic_group(open_chips(chipset), "7", tmp_path / "m")
    coarse = TRANSFORM @ Affine.scale(2)
    (chipset / "chips.csv").write_text("chip,group\na,7\nb,7\n")
    write(chipset / "dem" / "b.tif", np.zeros((32, 32), dtype=np.int16), transform=coarse, nodata=-32768)
    write(chipset / "mask" / "b.tif", np.zeros((32, 32), dtype=np.uint8), "rts", transform=coarse, nodata=None)
    with pytest.raises(DataError, match="pixels of 20"):
        mosaic_group(open_chips(chipset), "7", tmp_path / "m")
    write(chipset / "dem" / "b.tif", np.zeros((32, 32), dtype=np.int16), nodata=-32768)
    write(chipset / "mask" / "b.tif", np.zeros((32, 32), dtype=np.uint8), "rts", nodata=None)
    with pytest.raises(DataError, match="units"):
        mosaic_group(open_chips(chipset), "7", tmp_path / "m")
    assert not (tmp_path / "m").exists()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine.txt").write_text("kept")
    (chipset / "chips.csv").write_text("chip,group\na,7\n")
    with pytest.raises(OutputError, match="exists"):
        mosaic_group(open_chips(chipset), "7", tmp_path / "m")
