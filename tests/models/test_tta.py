"""Eight views of a chip: turned, judged, turned back, and put together."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from helpers.models import made_batch, redraw, small_config
from rtslib.data.augment import turned as turned_array
from rtslib.data.samples import boxes_of
from rtslib.models.build import build_model
from rtslib.models.decision import Decision
from rtslib.models.platt import platt
from rtslib.models.tta import VIEWS, Turned, glimpses, turned

CONFIG = small_config(("rgb",))


def as_found(masks, scores):
    """Detections as a Detector gives them, of probabilities (n, h, w)."""
    masks = np.asarray(masks, np.float32)
    boxes = torch.from_numpy(boxes_of(masks > 0))
    ones = torch.ones(len(masks), dtype=torch.long)
    scores = torch.tensor(scores, dtype=torch.float32)
    return {"boxes": boxes, "scores": scores, "labels": ones, "masks": torch.from_numpy(masks)}


class Bright(torch.nn.Module):
    """Every bright part of the valid image is an instance, if `finds` says so of its mask; it knows no up and down.

    Its probabilities are a tenth of the pixels, its score the highest of them.
    """

    def __init__(self, finds=lambda mask: True, config=CONFIG):
        super().__init__()
        self.finds, self.config, self.seen = finds, config, []
        self.eval()

    def forward(self, batch):
        self.seen.append(batch)
        (images,), (valid,) = batch["images"].values(), batch["valid"].values()
        return [self.one((i[0] * v)[:h, :w]) for i, v, (h, w) in zip(images, valid, batch["sizes"], strict=True)]

    def one(self, image):
        labels, n = ndimage.label(image.numpy() > 1, structure=np.ones((3, 3)))
        masks = [m for k in range(1, n + 1) if self.finds(m := labels == k)]
        probs = np.array([m * image.numpy() / 10 for m in masks]).reshape(-1, *image.shape)
        scores = [float(p.max()) for p in probs]
        order = np.argsort(scores)[::-1]
        return as_found(probs[order], [scores[k] for k in order])


def chips(*images):
    """A batch of chips of any sizes, padded as `collate` pads them, with what is no number in the padding."""
    sizes = [i.shape for i in images]
    height, width = (max(side) for side in zip(*sizes))
    batch = torch.full((len(images), 1, height, width), torch.nan)
    valid = torch.zeros(len(images), height, width, dtype=torch.bool)
    for k, (image, (h, w)) in enumerate(zip(images, sizes)):
        batch[k, 0, :h, :w], valid[k, :h, :w] = torch.from_numpy(image), True
    return {"images": {"rgb": batch}, "valid": {"rgb": valid}, "sizes": sizes}


def chip(h, w, *parts):
    """An image (h, w) with rectangles (top, left, height, width, value)."""
    image = np.zeros((h, w), np.float32)
    for top, left, height, width, value in parts:
        image[top : top + height, left : left + width] = value
    return image


WIDE, TALL = (4, 3, 5, 12, 9.0), (12, 20, 10, 4, 7.0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 999)), min_size=1, max_size=4))
def test_a_model_that_knows_no_up_says_the_same(sizes):
    """Chips of any sizes in one batch, among them some without a slump; with and without, all is equal."""
    images = []
    for h, w, seed in sizes:
        rng = np.random.default_rng(seed)
        images.append((rng.uniform(5.1, 9.9, (h, w)) * (rng.random((h, w)) < 0.15)).astype(np.float32))
    batch = chips(*images)
    plain, eight = Bright()(batch), Turned(Bright(config=CONFIG.updated(max_dets=10_000)))(batch)
    for a, b in zip(plain, eight, strict=True):
        assert set(a) == set(b) and a["labels"].equal(b["labels"]) and a["scores"].equal(b["scores"])
        i, j = (np.lexsort((*x["boxes"].numpy().T, x["scores"].numpy())) for x in (a, b))  # equal scores in any order
        assert a["boxes"][i].equal(b["boxes"][j]) and a["masks"][i].equal(b["masks"][j])


def test_a_chip_without_a_slump_has_no_detections():
    (out,) = Turned(Bright())(chips(chip(20, 30)))
    assert {k: tuple(v.shape) for k, v in out.items()} == {
        "boxes": (0, 4), "scores": (0,), "labels": (0,), "masks": (0, 20, 30)
    }  # fmt: skip


def test_the_model_sees_eight_views_of_each_chip_and_no_padding():
    model = Bright()
    images = [np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(4, dtype=np.float32).reshape(2, 2)]
    Turned(model)(chips(*images))
    assert len(model.seen) == 16
    for image in images:
        expected = {turned_array(image, *view).tobytes() for view in VIEWS}
        mine = [b for b in model.seen if sorted(b["sizes"][0]) == sorted(image.shape)]
        got = [b["images"]["rgb"][0, 0] for b in mine]
        assert {g.numpy().tobytes() for g in got} == expected and len(expected) == 8
        assert [tuple(g.shape) for g in got] == [b["sizes"][0] for b in mine]
        assert all(b["valid"]["rgb"].all() for b in mine)


def test_validity_turns_with_the_image():
    batch = chips(chip(32, 32, WIDE, TALL))
    batch["valid"]["rgb"][0, :, :8] = False  # cuts the wide one
    (out,) = Turned(Bright())(batch)
    assert out["boxes"].tolist() == [[8, 4, 15, 9], [20, 12, 24, 22]]


def wide(mask):
    return mask.any(0).sum() > mask.any(1).sum()


def test_what_one_orientation_shows_has_half_the_score():
    """The model knows wide slumps alone: the wide one in four views, the tall one in the others."""
    alone = Bright(wide)(chips(chip(32, 40, WIDE, TALL)))[0]
    assert alone["boxes"].tolist() == [[3, 4, 15, 9]]
    (out,) = Turned(Bright(wide))(chips(chip(32, 40, WIDE, TALL)))
    torch.testing.assert_close(out["scores"], torch.tensor([0.45, 0.35]))
    assert out["boxes"].tolist() == [[3, 4, 15, 9], [20, 12, 24, 22]]
    assert [int((m >= 0.5).sum()) for m in out["masks"]] == [60, 40] and out["masks"].max() == pytest.approx(0.9)


def in_one_view(mask):
    """True of one of the eight views of a slump off the axes of a square chip."""
    down, right = (np.argwhere(mask).mean(0) + 0.5) / np.array(mask.shape)
    return right < down < 0.5


def test_what_one_view_alone_sees_is_worth_an_eighth():
    """So it stands behind what all see, though its own score is higher; a mean over members would put it first."""

    def finds(mask):
        return in_one_view(mask) or mask[15:17, 15:17].all()  # or in the middle

    image = chip(32, 32, (4, 10, 3, 3, 9.0), (13, 13, 6, 6, 8.5))
    (out,) = Turned(Bright(finds))(chips(image))
    torch.testing.assert_close(out["scores"], torch.tensor([0.85, 0.9 / 8]))
    assert out["boxes"].tolist() == [[13, 13, 19, 19], [10, 4, 13, 7]]


class Says(torch.nn.Module):
    """Answers its first chip with what is given of each view, in the chip's own frame: (probabilities, score)s."""

    def __init__(self, views, **knobs):
        super().__init__()
        self.views, self.config, self.calls = views, CONFIG.updated(**knobs), 0
        self.eval()

    def forward(self, batch):
        view = VIEWS[self.calls]
        found, size = self.views[self.calls], batch["sizes"][0]
        self.calls += 1
        masks = np.array([turned_array(m, *view) for m, _ in found], np.float32).reshape(-1, *size)
        return [as_found(masks, [s for _, s in found])]


def ask(views, size=(20, 30), **knobs):
    """What is made of the views of one chip; those not given say nothing."""
    views = [*views, *[[]] * (8 - len(views))]
    return Turned(Says(views, **knobs))(chips(np.zeros(size, np.float32)))[0]


def square(top, left, value=0.8, side=10, size=(20, 30)):
    return chip(*size, (top, left, side, side, value))


def test_mask_and_box_are_the_mean_of_the_members():
    out = ask([[(square(5, 10), 0.8)], [(square(5, 11), 0.4)], [], [(square(6, 10, 0.6), 0.4)]])
    assert out["scores"].tolist() == [pytest.approx(1.6 / 8)]
    torch.testing.assert_close(out["boxes"], torch.tensor([[10 + 1 / 3, 5 + 1 / 3, 20 + 1 / 3, 15 + 1 / 3]]))
    mean = (square(5, 10) + square(5, 11) + square(6, 10, 0.6)) / 3
    torch.testing.assert_close(out["masks"][0], torch.from_numpy(mean))


@pytest.mark.parametrize(("shift", "count"), [(3, 1), (4, 2)])  # IoU 70 / 130 and 60 / 140
def test_masks_of_one_instance_agree_by_half(shift, count):
    assert len(ask([[(square(5, 10), 0.8)], [(square(5, 10 + shift), 0.7)]])["scores"]) == count


def test_masks_are_matched_not_the_boxes_around_them():
    """Two triangles fill one square: their boxes are equal, their masks apart."""
    upper, lower = np.zeros((20, 30)), np.zeros((20, 30))
    upper[5:15, 5:15], lower[5:15, 5:15] = np.triu(np.ones((10, 10)), 1), np.tril(np.ones((10, 10)), -1)
    assert len(ask([[(upper, 0.8)], [(lower, 0.7)], [(upper, 0.6)]])["scores"]) == 2


def test_a_view_gives_an_instance_one_member():
    """What a view takes for two stays two, also where their masks agree."""
    pair = [(square(5, 10), 0.8), (square(5, 12), 0.6)]
    out = ask([pair] * 8)
    torch.testing.assert_close(out["scores"], torch.tensor([0.8, 0.6]))
    assert out["boxes"].tolist() == [[10, 5, 20, 15], [12, 5, 22, 15]]
    assert ask([pair])["scores"].tolist() == pytest.approx([0.1, 0.075])


def test_a_detection_joins_the_instance_it_fits_best():
    """The third view's fits both of the first one's; the better fit is not the one with the higher score."""
    out = ask([[(square(5, 10), 0.9), (square(5, 13), 0.7)], [(square(5, 12), 0.5)]])
    torch.testing.assert_close(out["scores"], torch.tensor([1.2, 0.9]) / 8)
    assert out["boxes"][0].tolist() == [12.5, 5, 22.5, 15]


def test_the_best_are_kept_and_a_low_score_is_no_reason_to_go():
    far = [[(square(0, 0, side=4), 0.5), (square(0, 8, side=4), 0.4), (square(0, 16, side=4), 0.051)]]
    assert ask(far)["scores"].tolist() == pytest.approx([0.5 / 8, 0.4 / 8, 0.051 / 8])
    assert ask(far, max_dets=2)["boxes"].tolist() == [[0, 0, 4, 4], [8, 0, 12, 4]]


def test_a_detection_without_a_pixel_goes_but_a_score_that_is_no_number_is_told():
    faint = square(5, 10, 0.49)
    assert ask([[(faint, 0.9), (square(5, 10), 0.8)]])["scores"].tolist() == pytest.approx([0.1])
    out = ask([[(faint, float("nan"))], [(square(5, 10), 0.8)]], max_dets=1)
    assert out["scores"].isnan().tolist() == [True]


def test_masks_of_a_view_are_kept_cropped():
    """Eight views of 50 masks of 512 px a side would be 400 MiB."""
    found = as_found([square(7, 500, size=(512, 512))] * 3, [0.9, 0.8, 0.7])
    for g in glimpses(found, 0, (512, 512)):
        assert g.probs.shape == (10, 10) and g.probs.base is None and g.rect.tolist() == [7, 500, 17, 510]


def detector(**knobs):
    model = build_model(small_config(("rgb",), score_thresh=0.0, **knobs)).eval()
    redraw(model)
    return model


def turn_batch(batch, turns, flip):
    parts = {k: {m: torch.from_numpy(turned_array(t.numpy(), turns, flip)) for m, t in batch[k].items()}
             for k in ("images", "valid")}  # fmt: skip
    return {**parts, "sizes": [s[::-1] if turns % 2 else s for s in batch["sizes"]]}


@pytest.mark.parametrize("view", [(0, True), (1, False), (3, True)])
def test_a_detector_made_so_turns_with_its_chip(view):
    """A turned chip has the same eight views: a chip of 48 x 72 px, padded on one side, which the detector notices."""
    model, batch = detector(), made_batch(("rgb",), ((48, 72),), instances=(2,))
    with torch.no_grad():
        plain, other = (model({**b})[0]["scores"] for b in (batch, turn_batch(batch, *view)))
        assert len(plain) != len(other) or not torch.allclose(plain, other, atol=1e-4)
        model = Turned(model)
        a, b = model(batch)[0], model(turn_batch(batch, *view))[0]
    assert len(a["scores"]) > 1
    torch.testing.assert_close(a["scores"], b["scores"])
    torch.testing.assert_close(torch.from_numpy(turned_array(a["masks"].numpy(), *view)), b["masks"])


def test_a_chip_is_the_same_in_any_batch_and_order():
    model = Turned(detector())
    sizes = ((64, 64), (48, 72), (64, 64))
    batch = made_batch(("rgb",), sizes, instances=(2, 1, 0))
    back = {k: {m: t.flip(0) for m, t in batch[k].items()} for k in ("images", "valid")} | {"sizes": list(sizes[::-1])}
    with torch.no_grad():
        out, other = model(batch), model(back)[::-1]
        one = {k: {m: t[1:2, ..., :48, :72] for m, t in batch[k].items()} for k in ("images", "valid")}
        other[1] = model({**one, "sizes": [(48, 72)]})[0]
    for a, b, size in zip(out, other, sizes, strict=True):
        assert a["masks"].shape[1:] == size and len(a["scores"]) and (a["scores"].diff() <= 0).all()
        for k in a:
            torch.testing.assert_close(a[k], b[k], atol=1e-4, rtol=1e-4)


def test_the_joined_score_is_calibrated_not_those_of_the_views():
    (out,) = Turned(Bright(wide, CONFIG.updated(temperature=2.0, score_shift=0.5)))(chips(chip(32, 32, WIDE)))
    torch.testing.assert_close(out["scores"], platt(torch.tensor([0.45]), 2.0, 0.5))
    batch = made_batch(("rgb",))
    plain, scaled = Turned(detector()), Turned(detector(temperature=2.0, score_shift=0.5))
    assert (scaled.config.temperature, scaled.config.score_shift, scaled.config.tta) == (2.0, 0.5, True)
    with torch.no_grad():
        for a, b in zip(plain(batch), scaled(batch), strict=True):
            assert len(a["scores"])
            torch.testing.assert_close(platt(a["scores"], 2.0, 0.5), b["scores"])


def test_training_and_parts_are_the_models_own():
    model, batch = detector().train(), made_batch(("rgb",))
    eight = turned(model)
    assert isinstance(eight, Turned) and eight.training and turned(eight) is eight
    assert set(eight(batch)) == set(model(batch)) and eight.backbones is model.backbones
    assert not turned(detector()).training


def test_each_detector_of_a_decision_is_turned():
    """What calibrates it was fitted on it alone; so it is turned and calibrated alone, and then they are united."""
    model = Decision(small_config(("rgb", "terrain"), fusion="decision")).eval()
    model.detectors["rgb"] = Bright(wide)
    model.detectors["terrain"] = Bright(lambda m: not wide(m))
    model.calibrations[:] = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    image = chips(chip(32, 32, WIDE))
    batch = {k: {"rgb": image[k]["rgb"], "terrain": image[k]["rgb"]} for k in ("images", "valid")}
    batch["sizes"] = image["sizes"]
    assert len(model(batch)[0]["scores"]) == 1  # it is wide
    eight = turned(model)
    assert eight is model and turned(eight) is eight and model.config.tta
    assert all(isinstance(d, Turned) and isinstance(d.model, Bright) for d in model.detectors.values())
    torch.testing.assert_close(eight(batch)[0]["scores"], platt(torch.tensor([0.45]), 1.0, 1.0))  # the better of two
