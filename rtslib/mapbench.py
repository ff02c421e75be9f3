"""Benchmarks of mapping: memory against area, how busy the model is, speed-up with workers.

Each measurement is a process of its own (`python -m rtslib.mapbench`), so that its peak memory is its own. Scenes of
growing area are a small one repeated: tiles of a tiled GeoTIFF, never a whole raster in memory.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import rasterio
from rasterio.windows import Window

from rtslib.errors import RtsError
from rtslib.scenes import open_scene


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
            profile = {**source.profile, "height": source.height * times, "width": source.width * times,
                       "tiled": True, "blockxsize": 256, "blockysize": 256, "bigtiff": "if_safer"}  # fmt: skip
            pixels = source.read()
            with rasterio.open(out / path.name, "w", **profile) as target:
                for i in range(times * times):
                    row, col = divmod(i, times)
                    target.write(pixels, window=Window(col * source.width, row * source.height, source.width, source.height))
                for name in ("descriptions", "units", "scales", "offsets"):
                    setattr(target, name, getattr(source, name))
    return out


def measure_map(run: str | Path, scene: str | Path, window: int, overlap: int, workers: int = 0) -> dict[str, float]:
    """Map a scene in a process of its own.

    Args:
        run: folder of a finished run.
        scene: folder of GeoTIFFs.
        window, overlap: px.
        workers: processes with one thread each; 0: in that process, with all cores.

    Returns:
        `seconds` of the map alone (starting Python and a cluster left out), `model_share` of them (0-1),
        `peak_mib` of the process, `windows`, `slumps`.

    Raises:
        RtsError: the process failed; says how.
    """
    command = [sys.executable, "-m", "rtslib.mapbench", str(run), str(scene), str(window), str(overlap), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RtsError(f"the map to be measured failed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def memory_table(
    run: str | Path, scene: str | Path, window: int, overlap: int, times: tuple[int, ...] = (1, 2, 4)
) -> pd.DataFrame:
    """Measure maps of 1, 4 and 16 times the area: columns area (times), and those of `measure_map`, growth (of peak
    memory over the first)."""
    rows = []
    for n in times:
        with TemporaryDirectory() as folder:
            place = repeat_scene(scene, n, Path(folder) / "scene")
            rows.append({"area": n * n, **measure_map(run, place, window, overlap)})
    table = pd.DataFrame(rows)
    return table.assign(growth=table["peak_mib"] / table["peak_mib"].iloc[0] - 1)


def worker_table(
    run: str | Path, scene: str | Path, window: int, overlap: int, counts: tuple[int, ...] = (1, 2)
) -> pd.DataFrame:
    """Measure maps with different numbers of workers of one thread: columns workers, seconds, speed_up over the first."""
    rows = [{"workers": n, **measure_map(run, scene, window, overlap, n)} for n in counts]
    table = pd.DataFrame(rows)[["workers", "windows", "seconds"]]
    return table.assign(speed_up=table["seconds"].iloc[0] / table["seconds"])


def main(argv: list[str]) -> int:
    """Map once and print what `measure_map` returns as JSON."""
    from rtslib.config import Config
    from rtslib.mapping import map_region
    from rtslib.mapplan import Options
    from rtslib.memory import peak_mib
    from rtslib.spread import FromRun, Spread

    run, scene = Path(argv[0]), open_scene(argv[1])
    window, overlap, workers = map(int, argv[2:])
    load = FromRun(str(run.resolve()))
    model = Spread(load, workers, threads=1) if workers else load()
    with TemporaryDirectory() as out:
        start = time.monotonic()
        found = map_region(model, Config.load(run / "config.json"), scene.stack, out, Options(window, overlap))
        seconds = time.monotonic() - start
        spent = json.loads((Path(out) / "manifest.json").read_text())["seconds"]
    said = {"seconds": seconds, "model_share": spent["model"] / spent["wall"], "peak_mib": peak_mib(),
            "windows": found.attrs["counts"]["windows"], "slumps": len(found)}  # fmt: skip
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
