"""Names of the same weights in both engines, and in detectron2's own MViT.

Both engines compute the same function of the same tensors; only names differ. A run's `model.pt` always
has the default engine's names, so a run trained with one engine is read with the other.

Each table maps prefixes of names; the longest one that fits counts. Nothing is passed over: a name
without a rule is an error.
"""

from collections.abc import Mapping

from torch import Tensor

from rtslib.config import Config
from rtslib.errors import WeightsError
from rtslib.models.model import Model
from rtslib.models.mvit import SIZES

State = Mapping[str, Tensor]


def engine_names(config: Config) -> dict[str, str]:
    """Return prefixes of the default engine's names -> those of `rtslib.models.detectron2.model.FusedRCNN`."""
    trunk = "backbone.bottom_up.trunk."
    kept = ["backbones", "fusion", *(f"{kind}_{m}" for kind in ("mean", "std") for m in config.modalities)]
    names = {k: trunk + k for k in kept}
    for i in range(4):
        names[f"fpn.inner_blocks.{i}.0"] = f"backbone.fpn_lateral{i + 2}"
        names[f"fpn.layer_blocks.{i}.0"] = f"backbone.fpn_output{i + 2}"
    rpn = "proposal_generator.rpn_head"
    names |= {f"rpn.head.conv.{i}.0": f"{rpn}.conv.conv{i}" for i in range(2)}
    names |= {"rpn.head.cls_logits": f"{rpn}.objectness_logits", "rpn.head.bbox_pred": f"{rpn}.anchor_deltas"}
    for k in range(len(config.cascade_ious)):
        ours, theirs = f"heads.stages.{k}", f"roi_heads.box_head.{k}"
        names |= _convs(f"{ours}.convs", f"{theirs}.conv", config.head_convs)
        names[f"{ours}.fc"] = f"{theirs}.fc1"
        names[f"{ours}.cls"] = f"roi_heads.box_predictor.{k}.cls_score"
        names[f"{ours}.box"] = f"roi_heads.box_predictor.{k}.bbox_pred"
    mask = "roi_heads.mask_head"
    names |= _convs("mask_head.convs", f"{mask}.mask_fcn", config.head_convs)
    return names | {"mask_head.up": f"{mask}.deconv", "mask_head.logit": f"{mask}.predictor"}


def _convs(ours: str, theirs: str, count: int) -> dict[str, str]:
    """Convolution, norm and ReLU are three modules here, and one module with a `norm` in detectron2."""
    pairs = {}
    for i in range(count):
        pairs[f"{ours}.{3 * i}"], pairs[f"{ours}.{3 * i + 1}"] = f"{theirs}{i + 1}", f"{theirs}{i + 1}.norm"
    return pairs


def mvit_names(size: str) -> dict[str, str]:
    """Return prefixes of `rtslib.models.mvit.MViT`'s names -> those of detectron2's `MViT` of the same size.

    Stages of blocks are one list of blocks there. Sizes are nano, tiny, small and base; `large` widens
    elsewhere.

    Raises:
        WeightsError: the size is `large`.
    """
    if size == "large":
        raise WeightsError("detectron2's large MViT widens in other blocks than timm's: its weights do not fit")
    names = {"patch_embed": "patch_embed", "norm": "scale5_norm"}
    names |= {f"scale_norms.{i}": f"scale{i + 2}_norm" for i in range(3)}
    places = [(s, j) for s, depth in enumerate(SIZES[size].depths) for j in range(depth)]
    for i, (s, j) in enumerate(places):
        names[f"stages.{s}.blocks.{j}"] = f"blocks.{i}"
        names[f"stages.{s}.blocks.{j}.shortcut_proj_attn"] = f"blocks.{i}.proj"
    return names


def renamed(state: State, names: Mapping[str, str], source: object = "weights") -> dict[str, Tensor]:
    """Return a state dict under the names of a table (`engine_names`, `mvit_names`, or one turned round).

    Raises:
        WeightsError: names without a rule, naming up to five.
    """
    out, odd = {}, []
    for key, tensor in state.items():
        new = new_name(key, names)
        if new is None:
            odd.append(key)
        else:
            out[new] = tensor
    if odd:
        raise WeightsError(f"{source}: no place for {odd[:5]} ({len(odd)} in all)")
    return out


def new_name(key: str, names: Mapping[str, str]) -> str | None:
    """Return a key under the table's names, None if no prefix of it is there."""
    parts = key.split(".")
    for n in range(len(parts), 0, -1):
        head = ".".join(parts[:n])
        if head in names:
            return ".".join([names[head], *parts[n:]])
    return None


def turned(names: Mapping[str, str]) -> dict[str, str]:
    """Return the table for the way back."""
    return {theirs: ours for ours, theirs in names.items()}


def common_weights(model: Model) -> dict[str, Tensor]:
    """Return the state dict of a model of either engine under the default engine's names."""
    state = model.state_dict()
    if model.config.engine == "detectron2":
        return renamed(state, turned(engine_names(model.config)))
    return state


def fit_weights(model: Model, state: State, source: object) -> None:
    """Load a state dict with the default engine's names into a model of either engine; it must fit exactly.

    Raises:
        WeightsError: naming up to five names that do not fit.
    """
    own = common_weights(model)
    odd = sorted(set(own) ^ set(state)) + [k for k in own if k in state and own[k].shape != state[k].shape]
    if odd:
        raise WeightsError(f"{source}: weights do not fit the model, first at {odd[:5]} ({len(odd)} in all)")
    if model.config.engine == "detectron2":
        state = renamed(state, engine_names(model.config))
    model.load_state_dict(state)
