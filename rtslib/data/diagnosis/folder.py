"""Which kind a path is, and a look at it; kinds that need a model's parts are with `rtslib.mapping.diagnosis`.

A file is a raster if GDAL opens it as one, else a vector file, else a COCO file or a file of COCO results. A folder is
one of chips if it has the marks of a layout, a scene if it holds GeoTIFFs, or one of vector data (`.gdb`, shapefiles).
"""

from collections.abc import Callable
from pathlib import Path

from rtslib.data.diagnosis.chips import diagnose_chips
from rtslib.data.diagnosis.findings import Findings
from rtslib.data.diagnosis.raster import diagnose_raster
from rtslib.data.diagnosis.vector import diagnose_vector
from rtslib.data.grids import open_raster
from rtslib.data.opening import LAYOUTS, STOPPED
from rtslib.data.scenes import TRUTH_FILE, open_scene
from rtslib.errors import DataError
from rtslib.files import read_json


def diagnose_file(path: Path) -> Findings:
    """Look at a file.

    Raises:
        DataError: it is of no kind that is known, or cannot be read.
    """
    if not path.stat().st_size:
        raise DataError(path, "an empty file", "a raster, a vector file, or a folder of chips")
    if path.suffix.lower() == ".json" and (found := _coco(path)):
        return found
    if path.suffix.lower() == ".npz":
        raise DataError(path, "one chip of a release", "its folder, that with metadata/ and train/")
    try:
        open_raster(path).close()
    except DataError as not_raster:
        try:
            return diagnose_vector(path)
        except DataError as e:
            if path.suffix.lower() in (".tif", ".tiff", ".vrt", ".img", ".jp2", ".png", ".jpg", ".jpeg"):
                raise not_raster from None
            raise e from None
    return diagnose_raster(path)


def diagnose_folder(path: Path, category: str = "", progress: Callable[[int, int], None] | None = None) -> Findings:
    """Look at a folder that holds no run and no map; arguments as of `rtslib.data.diagnosis.chips.diagnose_chips`.

    Raises:
        ConfigError, DataError: it is of no kind that is known, or cannot be read.
    """
    if path.suffix.lower() == ".gdb":
        return diagnose_vector(path)
    if (path / STOPPED).is_file() or any(
        all((path / mark).exists() for mark in layout.marks) for layout in LAYOUTS.values()
    ):
        return diagnose_chips(path, category, progress)
    tiffs, shapes = (sorted(path.glob(pattern)) for pattern in ("*.tif", "*.shp"))
    if tiffs:
        return _scene(path, tiffs)
    if shapes:
        return diagnose_vector(path)
    inner = [d.name for d in sorted(path.iterdir()) if d.is_dir()][:5]
    found = f"a folder of no known kind, with folders {', '.join(inner)}" if inner else "a folder of no known kind"
    expected = "; ".join(layout.said for layout in LAYOUTS.values())
    raise DataError(path, found, f"chips ({expected}), a scene (*.tif), a run or a map")


def _scene(path: Path, tiffs: list[Path]) -> Findings:
    """Look at a folder of GeoTIFFs, and at each of them."""
    found = Findings(path)
    try:
        scene = open_scene(path)
        found.facts.append(f"a scene: {len(tiffs)} GeoTIFFs on one grid, bands {', '.join(scene.stack.bands)}")
        if scene.truth is not None:
            found.facts.append(f"{TRUTH_FILE}: {len(scene.truth)} known slumps")
        found.uses.append(f"map --run RUN --scene {path}")
    except DataError as e:
        found.facts.append(f"a folder of {len(tiffs)} GeoTIFFs, which are no scene")
        found.odd.append(f"no scene, as {e}")
        found.uses.append("map --run RUN --source FILE ..., one for each")
    for tiff in tiffs:
        one = diagnose_raster(tiff)
        for mine, its in ((found.facts, one.facts), (found.odd, one.odd)):
            mine += [f"{tiff.name}: {line}" for line in its]
        found.faults += one.faults
    return found


def _coco(path: Path) -> Findings | None:
    """Look at a COCO file, or one of results; None if it is neither, as a GeoJSON."""
    content, found = read_json(path), Findings(path)
    if isinstance(content, dict) and {"images", "annotations"} <= set(content):
        images, entries = content["images"], content["annotations"]
        found.facts.append(f"a COCO file: {len(images)} images, {len(entries)} annotations")
        found.uses.append("as instances.json beside images/: the folder of both is one of chips; ask about that")
        return found
    if isinstance(content, list) and all(isinstance(e, dict) and "image_id" in e for e in content):
        found.facts.append(f"COCO results: {len(content)} on {len({e['image_id'] for e in content})} images")
        found.uses.append(f"validate {path} --data DATA; evaluate --data DATA --predictions {path}")
        return found
    return None
