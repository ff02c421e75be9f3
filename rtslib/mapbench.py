"""Benchmarks of mapping: memory against area, how busy the model is, speed-up with workers.

`python -m rtslib.mapbench RUN SCENE OUT` writes `OUT/tables/memory.csv` and `workers.csv`. Each measurement is a
process of its own, so that its peak memory is its own. Scenes of growing area are a small one repeated, block by block.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import rasterio
from rasterio.windows import Window

from rtslib.errors import RtsError
from rtslib.scenes import open_scene
from rtslib.tables import save_table

_ONE = "import sys; from rtslib.mapbench import map_once; map_once(*sys.argv[1:3], int(sys.argv[3]))"


def repeat_scene(scene: str | Path, times: int, out: str | Path) -> Path:
    """Write a scene `times` x `times` as large as another one, by repeating it.

    Args:
        scene: folder of GeoTIFFs on one grid.
        out: folder to make.

    Raises:
        DataError: as `rtslib.scenes.open_scene`.
    """
    out = Path(out)
    out.mkdir(parents=True)
    for path in open_scene(scene).stack.files:
        with rasterio.open(path) as source:
            pixels, height, width = source.read(), source.height, source.width
            profile = {**source.profile, "height": height * times, "width": width * times, "tiled": True,
                       "blockxsize": 256, "blockysize": 256, "bigtiff": "if_safer"}  # fmt: skip
            with rasterio.open(out / path.name, "w", **profile) as target:
                for i in range(times * times):
                    target.write(pixels, window=Window(i % times * width, i // times * height, width, height))
                for name in ("descriptions", "units", "scales", "offsets"):
                    setattr(target, name, getattr(source, name))
    return out


def measure_map(run: str | Path, scene: str | Path, workers: int = 0) -> dict[str, float]:
    """Map a scene in a process of its own, in windows of the default size.

    Args:
        run: folder of a finished run.
        scene: folder of GeoTIFFs.
        workers: processes with one thread each; 0: in that process, with all cores.

    Returns:
        `seconds` of the map alone, a cluster's start included; `model_share` of them (0-1; of all workers together);
        `peak_mib` of the process; `windows`; `slumps`.

    Raises:
        RtsError: the process failed; says how.
    """
    command = [sys.executable, "-c", _ONE, str(run), str(scene), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RtsError(f"mapping {scene} to measure it failed: {' '.join(done.stderr.splitlines()[-1:])}")
    return json.loads(done.stdout.splitlines()[-1])


def map_once(run: str, scene: str, workers: int) -> None:
    """Map once in this process and print what `measure_map` returns as JSON."""
    from rtslib.config import Config
    from rtslib.mapping import MANIFEST, map_region
    from rtslib.mapplan import Options
    from rtslib.memory import peak_mib
    from rtslib.spread import FromRun, Spread

    load = FromRun(str(Path(run).resolve()))
    model = Spread(load, workers, threads=1) if workers else load()
    with TemporaryDirectory() as out:
        start = time.monotonic()
        options = Options(block=2)  # a small scene, but many blocks to share out, as a region has
        found = map_region(model, Config.load(Path(run) / "config.json"), open_scene(scene).stack, out, options)
        seconds = time.monotonic() - start
        spent = json.loads((Path(out) / MANIFEST).read_text())["seconds"]
    said = {"seconds": seconds, "model_share": spent["model"] / spent["wall"], "peak_mib": peak_mib(),
            "windows": found.attrs["counts"]["windows"], "slumps": len(found)}  # fmt: skip
    print(json.dumps(said))


def memory_table(run: str | Path, scene: str | Path, times: Sequence[int] = (1, 2, 4)) -> pd.DataFrame:
    """Measure maps of 1, 4 and 16 times the area: columns area (times), those of `measure_map`, and growth (of the peak
    over the first one's)."""
    rows = []
    for n in times:
        with TemporaryDirectory() as folder:
            rows.append({"area": n * n, **measure_map(run, repeat_scene(scene, n, Path(folder) / "scene"))})
    table = pd.DataFrame(rows)
    return table.assign(growth=table["peak_mib"] / table["peak_mib"].iloc[0] - 1)


def worker_table(run: str | Path, scene: str | Path, times: int = 4, counts: Sequence[int] = (1, 2)) -> pd.DataFrame:
    """Measure maps of a repeated scene with workers of one thread: columns workers, windows, seconds, speed_up over the
    first."""
    with TemporaryDirectory() as folder:
        place = repeat_scene(scene, times, Path(folder) / "scene")
        rows = [{"workers": n, **measure_map(run, place, n)} for n in counts]
    table = pd.DataFrame(rows)[["workers", "windows", "seconds"]]
    return table.assign(speed_up=table["seconds"].iloc[0] / table["seconds"])


if __name__ == "__main__":
    RUN, SCENE, OUT = sys.argv[1:]
    print(save_table(memory_table(RUN, SCENE), Path(OUT) / "tables" / "memory.csv").to_string())
    print(save_table(worker_table(RUN, SCENE), Path(OUT) / "tables" / "workers.csv").to_string())
