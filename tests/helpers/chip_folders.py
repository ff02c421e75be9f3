"""Small valid folders of layouts (a) and (b) for tests to open, and to break in one place each."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from rtslib.bands import CHALLENGE_BANDS
from rtslib.data.masks import encode

#: A value inside each band's range, in array order.
VALUES = (100, 110, 120, 0.25, -3.5, 170, 2000, -0.5)


def box_mask(height, width, x, y, w, h):
    """Bool mask (height, width), True on a w x h box whose upper left pixel is (row y, column x)."""
    mask = np.zeros((height, width), dtype=bool)
    mask[y : y + h, x : x + w] = True
    return mask


def pixels(height, width, dtype=np.float32):
    """Array (height, width, 8), each band constant."""
    return np.broadcast_to(np.array(VALUES), (height, width, 8)).astype(dtype)


def coco(images, annotations):
    """COCO dict with the one category."""
    category = {"id": 1, "name": "rts", "supercategory": "landform"}
    return {"images": images, "annotations": annotations, "categories": [category]}


def annotation(number, image, segmentation, **other):
    """COCO annotation; its area is deliberately wrong, since files' areas are not to be used."""
    return {"id": number, "image_id": image, "category_id": 1, "segmentation": segmentation,
            "area": 99999, "bbox": [0, 0, 1, 1], "iscrowd": 0, **other}  # fmt: skip


def write_challenge(root: Path, train=3, test=2, size=(20, 30), groups=True, test_from=100) -> Path:
    """Write layout (a): training chip i (from 1) has i - 1 boxes of 4 x 5 px; test ids from `test_from`."""
    height, width = size
    (root / "metadata").mkdir(parents=True)
    (root / "metadata" / "band_names.json").write_text(json.dumps(CHALLENGE_BANDS))
    for part, count, first in (("train", train, 1), ("test", test, test_from)):
        (root / part / "images").mkdir(parents=True)
        lines = ["image_id,file_name,height,width,note" + (",group" if groups else "")]
        for i in range(count):
            name = f"{part}_{'nitze' if i % 2 else 'yg'}_{i:03d}.npz"
            np.savez_compressed(root / part / "images" / name, image=pixels(height, width))
            lines.append(f"{first + i},{name},{height},{width},x" + (f",site{i // 2}" if groups else ""))
        (root / "metadata" / f"{part}_manifest.csv").write_text("\n".join(lines) + "\n")
    images, annotations = [], []
    for i in range(train):
        name = f"train_{'nitze' if i % 2 else 'yg'}_{i:03d}.npz"
        images.append({"id": i + 1, "file_name": name, "height": height, "width": width})
        for k in range(i):
            rle = encode(box_mask(height, width, 6 * k, 2, 4, 5))
            annotations.append(annotation(len(annotations) + 1, i + 1, rle))
    (root / "train" / "annotations").mkdir()
    file = root / "train" / "annotations" / "instances_train.json"
    file.write_text(json.dumps(coco(images, annotations)))
    return root


def write_coco(root: Path, chips=3, size=(20, 30)) -> Path:
    """Write layout (b): chip i (from 1) is a PNG of one colour with one polygon, a box of 4 x 5 px."""
    height, width = size
    (root / "images").mkdir(parents=True)
    images, annotations = [], []
    for i in range(1, chips + 1):
        name = f"train_{'nitze' if i % 2 else 'yg'}_{i:03d}.png"
        Image.new("RGB", (width, height), (10 * i, 20, 30)).save(root / "images" / name)
        images.append({"id": i, "file_name": name, "height": height, "width": width})
        annotations.append(annotation(i, i, [[2, 3, 6, 3, 6, 8, 2, 8]]))
    (root / "instances.json").write_text(json.dumps(coco(images, annotations)))
    return root


def write_overlapping(root: Path, grounds=6) -> Path:
    """Write layout (b): chips 1 and 2, 3 and 4 ... are cut from one picture each, 10 px apart; 60 x 80 px.

    The first of each two has the source `nitze`, the second one `yg`.
    """
    rng = np.random.default_rng(0)
    write_coco(root, 2 * grounds, (60, 80))
    for number in range(1, 2 * grounds, 2):
        rough = gaussian_filter(rng.standard_normal((70, 80)), 1.5)
        picture = np.clip(128 + 40 * rough / rough.std(), 0, 255).astype(np.uint8)
        for name, cut in ((f"nitze_{number:03d}", picture[:60]), (f"yg_{number + 1:03d}", picture[10:])):
            Image.fromarray(np.stack([cut] * 3, axis=2)).save(root / "images" / f"train_{name}.png")
    return root


def edit_json(path: Path, change):
    """Apply `change` to the parsed content of a JSON file, in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
