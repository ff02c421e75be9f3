"""The trunk against its peers: MViTv2-T of timm, ours and detectron2's, on the same weights and the same image.

All give the four maps of strides 4 to 32. Without windows ours equals timm's; with windows, and with the strides that
detectron2 computes with, it equals detectron2's, whose MViT its main branch alone has.
"""

from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtslib.benchmarks.cases import Case, Unavailable, Work
from rtslib.benchmarks.made import redraw, their_mvit
from rtslib.benchmarks.precision import running
from rtslib.models.mvit import MViT

SIZE = "tiny"
#: Ours -> whose outputs they are compared with.
PEERS = {"rtslib": "timm", "rtslib as detectron2": "detectron2"}


def trunk(case: Case) -> Work:
    """Return the forward pass of a trunk. Raises Unavailable: detectron2's is not there."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(case.batch, 3, case.px, case.px, generator=generator).to(case.device)
    with torch.device(case.device):
        ours = _ours(case.case)

    def run(maps: Callable[[Tensor], Any]) -> list[Tensor]:
        with running(case, training=False):
            return list(maps(x))

    def difference() -> float:
        peer = _peer(PEERS[case.case], ours, case.px)
        return max((a.float() - b.float()).abs().max().item() for a, b in zip(run(mine), run(peer), strict=True))

    if case.case == "rtslib as detectron2":
        _their_mvit(ours)  # measured where the other is, too
    mine = ours if case.case == "rtslib as detectron2" else ours.stage_maps
    maps = _peer(case.case, ours, case.px) if case.case in PEERS.values() else mine
    return Work(lambda: run(maps), difference=difference if case.case in PEERS else None)


def _ours(name: str) -> MViT:
    """Build ours as a case needs it, or as its peer is compared with."""
    as_theirs, windows = "detectron2" in name, name not in ("rtslib", "timm")
    ours = MViT(SIZE, windows=windows, like="detectron2" if as_theirs else "timm")
    redraw(ours)
    return ours.eval()


def _peer(name: str, ours: MViT, side: int) -> Callable[[Tensor], Any]:
    """Return what gives a peer's maps of an image of `side` px, with the weights of ours, on its device."""
    device = next(ours.parameters()).device
    if name == "timm":
        theirs: Any
        with device:
            theirs = timm.create_model(f"mvitv2_{SIZE}", num_classes=0, img_size=side)
        theirs.load_state_dict(_stretched(ours, theirs.state_dict()))
        theirs.eval()
        return lambda x: theirs.forward_intermediates(x, intermediates_only=True)
    net: Any = _their_mvit(ours).to(device)
    return lambda x: net(x).values()


def _stretched(ours: MViT, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of ours that timm has, relative positions as long as its image needs, as ours does itself."""
    own = {k: v for k, v in ours.state_dict().items() if k in theirs}
    for key, table in own.items():
        if "rel_pos" in key and len(table) != len(theirs[key]):
            own[key] = F.interpolate(table.T[None], size=len(theirs[key]), mode="linear")[0].T
    return own


def _their_mvit(ours: MViT) -> nn.Module:
    try:
        theirs = their_mvit(ours, SIZE)
    except ImportError as e:
        raise Unavailable("detectron2 is not installed") from e
    if theirs is None:
        raise Unavailable("this detectron2 has no MViT: its main branch has")
    return theirs
