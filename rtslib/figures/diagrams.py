"""Diagrams of the method, drawn by code from a config: what goes where, with the formulas.

Three of them: the fused detector from modalities to instances (`rtslib.models.detector`), residual cross-modality
attention at one scale (`rtslib.models.fusion`, `rtslib.models.crossing`), and the cascade of box heads
(`rtslib.models.cascade`). A box is a step of the code, an arrow what it hands on; a tinted box has weights.
"""

import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure

from rtslib.config import Config
from rtslib.errors import ConfigError
from rtslib.figures.board import LEFT, RIGHT, TRAINED, Board, Box
from rtslib.figures.style import look, styled

#: Heads of the cross-attention; cells a side of a box, for its class and for its mask (a test asks the code).
HEADS, BOX_CELLS, MASK_CELLS = 4, 7, 28
WIDE, MIDDLE = RIGHT - LEFT, (LEFT + RIGHT) / 2
#: Sizes of MViTv2; other backbones have names of their own.
MVIT = ("nano", "tiny", "small", "base", "large")
SHORT = {"ndvi": "NDVI", "ndwi": "NDWI", "nir": "near infrared"}
FORMULAS = (
    r"$y = x + \sum_m A_m(x, z_m) + \sum_m W_m\,(\mathrm{valid}_m \cdot z_m)$",
    r"$A(x, z)_i = W_o\,[a_1(i), \ldots, a_H(i)], \qquad a_h(i) = \sum_j \alpha_h(i,j)\; z(j)$",
    r"$\alpha_h(i,j) = \mathrm{softmax}_j\left(s\,q_h(i) \cdot k_h(j) + q_h(i) \cdot R(j-i)"
    r" - \frac{|j-i-d_h|^2}{2\,w_h^2}\right)$",
    "R: relative positions; d, w: a head's offset and width, learnt",
)


@styled
def fused_detector(config: Config) -> Figure:
    """Draw the way from modalities to instances: branches, fusion, pyramid, proposals, heads.

    Args:
        config: its modalities, fusion, backbone, cascade and semantic branch are drawn.

    Raises:
        ConfigError: its fusion is no network of one pyramid (`decision`, `trees`).
    """
    _refuse(config)
    board, names = Board(10.6), list(config.modalities)
    wide = (WIDE - 0.3 * (len(names) - 1)) / len(names)
    places = [LEFT + wide / 2 + k * (wide + 0.3) for k in range(len(names))]
    inputs = [
        board.box(x, 9.85, wide, 1.15, f"{look(m).label}\n{_bands(config.modalities[m], wide)}")
        for x, m in zip(places, names, strict=True)
    ]
    if config.fusion == "data" or len(names) == 1:
        said = ", bands stacked and a plane a modality for where it is missing" if len(names) > 1 else ""
        branches = [
            board.box(MIDDLE, 8.35, WIDE, 0.75, _wrapped(f"one branch, {_backbone(config)}{said}", 52), TRAINED)
        ]
        fused = board.box(MIDDLE, 6.95, WIDE, 0.75, "its maps at strides 4, 8, 16, 32")
        board.down(branches[0], fused)
    else:
        branches = [board.box(x, 8.35, wide, 0.75, f"branch:\n{_backbone(config)}", TRAINED) for x in places]
        said = f"{look(config.fusion).label}, at each of strides 4, 8, 16, 32"
        fused = board.box(MIDDLE, 6.95, WIDE, 0.75, said, TRAINED)
        for branch in branches:
            board.down(branch, fused)
    for x, source in zip(places, inputs, strict=True):
        board.down(source, branches[0] if len(branches) == 1 else branches[places.index(x)], x)
    pyramid = board.box(MIDDLE, 5.6, WIDE, 0.7, "feature pyramid: P2 to P6, strides 4 to 64", TRAINED)
    board.down(fused, pyramid)
    _heads(board, pyramid, config)
    return board.figure


def _heads(board: Board, pyramid: Box, config: Config) -> None:
    """Draw what reads the pyramid."""
    rpn = board.box(4.1, 4.05, 2.5, 0.75, "region proposals\nfrom P2 to P6", TRAINED)
    cascade = board.box(4.1, 2.35, 2.5, 0.85, f"cascade of {len(config.cascade_ious)}\nbox heads", TRAINED)
    masks = board.box(7.2, 2.35, 2.1, 0.85, f"mask head,\n{MASK_CELLS} x {MASK_CELLS} a box", TRAINED)
    out = board.box(MIDDLE, 0.55, WIDE, 0.7, "instances: mask, box, score (0-1)")
    board.down(pyramid, rpn)
    board.down(rpn, cascade, note="boxes")
    lane, upper, lower = 5.7, cascade.y + 0.2, cascade.y - 0.2
    board.lead((lane, pyramid.bottom), (lane, upper), (cascade.right, upper))
    board.down(pyramid, masks, note="features,\nP2 to P5")
    board.lead((cascade.right, lower), (masks.left, lower))
    board.down(cascade, out, note="scores, boxes")
    board.down(masks, out, note="masks")
    if config.semantic:
        branch = board.box(1.3, 4.05, 2.2, 0.75, "semantic branch:\nslump, by pixel", TRAINED)
        board.down(pyramid, branch, 1.9)
        board.lead((0.6, branch.top), (0.6, pyramid.bottom), note="added to\nP2 to P5")
        board.lead((1.9, branch.bottom), (1.9, cascade.y), (cascade.left, cascade.y), note="boxes")
        board.down(branch, out, 0.6)
        board.text(1.85, 1.4, "pieces, and a second\nopinion on masks", 5.6)


@styled
def residual_attention() -> Figure:
    """Draw residual cross-modality attention at one scale: the attention, the merging, the sum, and their formulas."""
    board = Board(12.2)
    x = board.box(1.45, 11.5, 2.5, 0.9, "$x$: map of the\nprimary modality")
    z = board.box(5.6, 11.5, 5.4, 0.9, "$z_m$: map of another modality,\nand where it is valid")
    q = board.box(1.75, 9.9, 1.9, 0.9, "LN, $W_q$:\nqueries $q$", TRAINED)
    k = board.box(4.0, 9.9, 2.2, 0.9, "LN, pool, $W_k$:\nkeys $k$", TRAINED)
    v = board.box(6.0, 9.9, 1.4, 0.9, "pool:\nvalues")
    merge = board.box(7.6, 6.9, 1.4, 1.2, "$W_m$:\n1 x 1,\nstarts at 0", TRAINED)
    soft = board.box(2.95, 8.35, 4.3, 0.9, f"softmax over a window's valid keys;\n{HEADS} heads, a place prior each",
                     TRAINED)  # fmt: skip
    means = board.box(3.75, 6.9, 5.9, 0.7, f"weighted means $a_1 \\ldots a_{HEADS}$, 0 where no key is valid")
    out = board.box(3.75, 5.7, 5.9, 0.7, "$W_o$, starts at 0:  $A_m(x, z_m)$", TRAINED)
    total = board.box(MIDDLE, 4.3, WIDE, 0.7, "sum over all $m$:  $y$")
    for start, end, at in ((x, q, q.x), (z, k, k.x), (z, v, v.x), (z, merge, merge.x), (q, soft, q.x), (k, soft, k.x),
                           (soft, means, soft.x), (v, means, v.x), (means, out, means.x), (out, total, out.x),
                           (merge, total, merge.x)):  # fmt: skip
        board.down(start, end, at)
    board.down(x, total, 0.45)
    board.text(1.35, 4.95, "residual: $x$ itself", 5.6)
    for y, formula in zip((3.3, 2.3, 1.25, 0.4), FORMULAS, strict=True):
        board.text(MIDDLE, y, formula, 6.6)
    return board.figure


@styled
def cascade(config: Config) -> Figure:
    """Draw the cascade: each stage moves the boxes of the one before, and is trained at a stricter overlap.

    Args:
        config: its `cascade_ious`, `proposals`, `roi_samples`, `score_thresh`, `nms` and `max_dets` are said.

    Raises:
        ConfigError: its fusion is no network (`decision`, `trees`).
    """
    _refuse(config)
    ious, step = config.cascade_ious, 1.6
    many, left, wide = len(ious), 2.65, 4.9
    y = 4.15 + step * many
    board = Board(y + 0.6)
    said = f"at most {config.proposals} proposals a chip;\nin training {config.roi_samples} of them, drawn once"
    last, scores = board.box(left, y, wide, 0.85, said), []
    for number, iou in enumerate(ious, 1):
        y -= step
        said = (
            f"stage {number}: {BOX_CELLS} x {BOX_CELLS} features of P2 to P5;\ntrained at an overlap (IoU) of {iou:g}"
        )
        stage = board.box(left, y, wide, 0.85, said, TRAINED)
        board.down(last, stage, note=f"boxes $b_{number - 1}$")
        scores.append(board.box(6.6, y, 1.5, 0.7, f"score $s_{number}$"))
        board.lead((stage.right, y), (scores[-1].left, y))
        last = stage
    y -= step
    mean = board.box(6.65, y, 3.3, 0.9, f"mean of all scores:\n$s = (s_1 + \\ldots + s_{many}) / {many}$" if many > 1
                     else "$s = s_1$")  # fmt: skip
    for one in scores[:-1]:
        board.lead((one.right, one.y), (7.9, one.y), (7.9, mean.top))
    board.down(scores[-1], mean)
    said = f"boxes with $s > {config.score_thresh:g}$, of those\nthat overlap by {config.nms:g} the best"
    end = board.box(2.35, y, 4.3, 0.9, said)
    board.down(last, end, note=f"boxes $b_{many}$")
    board.lead((mean.left, y), (end.right, y))
    said = f"mask head on the best {config.max_dets} of a chip, {MASK_CELLS} x {MASK_CELLS} a box;\ntrained on " \
           f"proposals that overlap a slump by {ious[0]:g}"  # fmt: skip
    board.down(end, board.box(MIDDLE, y - step, WIDE, 0.85, said, TRAINED))
    return board.figure


def _backbone(config: Config) -> str:
    return f"MViTv2 {config.backbone}" if config.backbone in MVIT else config.backbone.replace("_", " ")


def _refuse(config: Config) -> None:
    if config.fusion in ("decision", "trees", "ensemble"):
        raise ConfigError(f"fusion={config.fusion}: no network with one pyramid, so no diagram of it: choose another")


def _bands(bands: Sequence[str], wide: float) -> str:
    return _wrapped(", ".join(SHORT.get(b, b.replace("_", " ")) for b in bands), int(7.6 * wide))


def _wrapped(text: str, letters: int) -> str:
    return "\n".join(textwrap.wrap(text, letters))
