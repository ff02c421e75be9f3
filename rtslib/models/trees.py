"""Trees on pixels: the plain baseline. Boosted trees say of every pixel how likely it is a slump's; pixels that hang
together are an instance.

    p(pixel) = sigmoid(b + sum of the trees' answers to its features)           (`rtslib.models.pixel_features`)
    instances = 8-connected parts of {p >= t} of at least 10 px                  (`rtslib.data.masks`)
    score = mean of p on an instance, times 1 - exp(-its px / 10)

p is as if slumps and other ground were as common (`rtslib.training.trees` fits it, with scikit-learn). Of an instance's
mask the probability is sigmoid(logit p - logit t), so that its outline, at 0.5, is where p is t. The score falls short
of the mean on the smallest parts, which are wrong most often. t is a knob, the same for all runs: the folds of
cross-validation, whose detections are ranked together, would else have scores of different make.

Features, knobs and score were chosen by folds by site within training sites: three of one fold of real chips (108
chips, 155 slumps), where AP25 and AP50 of one setting differ by 1 to 2 % between draws, and two of the landscape.
Standard deviations bring most (AP50 6 % on real chips, without them 2 %), then the score (AP25 +0.5 % over the mean
of p; a larger size than 10 px brings more there, and costs as much on the landscape). From 0.6 to 0.9 t is as good on
real chips, from 0.3 to 0.8 on the landscape: more than the few slumps of a validation side can tell apart. A scale
of 24 px, differences of value and mean, more pixels, p smoothed, holes filled, and parts of several t at once bring
nothing beyond the noise.

Here the trees are plain arrays, a row each, read without scikit-learn and without executing anything: node i asks
whether feature `feature[i]` is at most `cut[i]` and goes on to `left[i]` or `right[i]`, where the feature is NaN to
the left if `gap_left[i]`; both have higher numbers. A leaf leads to itself and answers `value[i]`.

Sources: Friedman 2001 (Annals of Statistics 29(5), doi 10.1214/aos/1013203451) for boosting; Ke et al. 2017 (LightGBM,
NeurIPS) for trees on histograms, as scikit-learn's HistGradientBoostingClassifier grows them. Not in Li et al. 2025.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rtslib.config import Config
from rtslib.data.masks import MIN_PIXELS, label_instances
from rtslib.data.samples import boxes_of
from rtslib.errors import ConfigError, TrainingError, WeightsError
from rtslib.models.model import Model
from rtslib.models.pixel_features import pixel_features
from rtslib.models.platt import platt


class Trees(Model):
    """Boosted trees on pixels; takes and gives what a `rtslib.models.detector.Detector` does in evaluation mode.

    Args:
        config: with `modality_mean` and `modality_std` for every modality; the tree knobs say how many nodes there are.

    Raises:
        ConfigError: statistics are missing, the engine is not torchvision, or the config names weights to start from.
    """

    def __init__(self, config: Config) -> None:
        if config.engine != "torchvision" or config.pretrained or config.zoo:
            raise ConfigError("fusion=trees has no network: leave engine, pretrained and zoo as they are")
        super().__init__()
        self.config, self.backbones = config, nn.ModuleDict()
        self.keep_statistics(config)
        self.feature: Tensor
        self.cut: Tensor
        self.left: Tensor
        self.right: Tensor
        self.gap_left: Tensor
        self.value: Tensor
        self.base: Tensor  # b, log-odds
        for name, values in leaves(config.tree_rounds, 2 * config.tree_leaves - 1).items():
            self.register_buffer(name, values)
        self.register_buffer("base", torch.zeros((), dtype=torch.float64))

    @property
    def features(self) -> int:
        """Number of features of a pixel."""
        return sum(map(len, self.config.modalities.values())) * (1 + 2 * len(self.config.tree_scales))

    @property
    def fitted_numbers(self) -> int:
        """Number of cuts and answers in the trees: what other models' parameters are."""
        leaf = self.left == torch.arange(self.left.shape[1], device=self.left.device)
        return int((~leaf).sum()) * 2 + len(leaf)  # a tree has one leaf more than it has cuts

    def fill(self, trees: Sequence[np.ndarray], base: float) -> None:
        """Take over the nodes of fitted trees.

        Args:
            trees: scikit-learn's nodes of each tree (`TreePredictor.nodes`), of a fit to float32 features.
            base: log-odds that the answers are added to.

        Raises:
            ValueError: there are more trees or nodes than the config says.
        """
        for name, values in leaves(*self.value.shape).items():
            getattr(self, name).copy_(values)
        self.base.fill_(base)
        for row, nodes in enumerate(trees):
            inner, n = torch.from_numpy(~nodes["is_leaf"].astype(bool)), len(nodes)
            below = np.float32(nodes["num_threshold"])  # x <= cut in float64 is x <= the float32 below it, of float32 x
            below = np.where(below > nodes["num_threshold"], np.nextafter(below, np.float32(-np.inf)), below)
            parts = {
                "feature": nodes["feature_idx"].astype(np.int64), "left": nodes["left"].astype(np.int64),
                "right": nodes["right"].astype(np.int64), "gap_left": nodes["missing_go_to_left"].astype(bool),
                "cut": below,
            }  # fmt: skip
            for name, values in parts.items():
                place = getattr(self, name)[row, :n]
                place[inner] = torch.from_numpy(values)[inner]
            self.value[row, :n] = torch.from_numpy(nodes["value"].astype(np.float64))
        self._check()

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **knobs: Any) -> Any:
        """Load as any module. Raises WeightsError where a node asks for no feature or does not lead onwards."""
        answer = super().load_state_dict(state_dict, *args, **knobs)
        self._check()
        return answer

    def _check(self) -> None:
        own = torch.arange(self.left.shape[1], device=self.left.device)
        leaf = (self.left == own) & (self.right == own)
        for name, least in (("feature", torch.zeros_like(own)), ("left", own + 1), ("right", own + 1)):
            values, most = getattr(self, name), self.features if name == "feature" else len(own)
            if (((values < least) | (values >= most)) & ~leaf).any():
                raise WeightsError(f"trees: {name} of some node is none that can be: copy the weights again")

    def forward(self, batch: dict[str, Any]) -> list[dict[str, Tensor]]:
        """Return detections, as `Detector.forward` in evaluation mode. Raises TrainingError in training mode."""
        if self.training:
            raise TrainingError("trees learn no step by step: train them with `rtslib.training.trees.plant`")
        return [self.instances(p) for p in self.probabilities(batch)]

    def probabilities(self, batch: Mapping[str, Any]) -> list[Tensor]:
        """Return p of each chip of a batch, float (h, w), 0 where no modality has data. Takes what `forward` takes."""
        out = []
        for i, (h, w) in enumerate(batch["sizes"]):
            valid = {m: v[i, :h, :w] for m, v in batch["valid"].items()}
            seen = torch.stack(list(valid.values())).any(0)
            p = torch.zeros(h, w, device=seen.device)
            features = self.described({m: x[i, :, :h, :w] for m, x in batch["images"].items()}, valid)
            p[seen] = self.margin(features[:, seen]).sigmoid().float()
            out.append(p)
        return out

    def described(self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor]) -> Tensor:
        """Return the features float (features, h, w) of a chip: those of each modality, one after the other.

        Args:
            images: modality -> float (bands, h, w) in physical units.
            valid: modality -> bool (h, w).
        """
        scales = self.config.tree_scales
        parts = [pixel_features(self.standardised(m, images[m]), valid[m], scales) for m in self.config.modalities]
        return torch.cat(parts)

    def margin(self, pixels: Tensor) -> Tensor:
        """Return the log-odds, float64 (n,), of pixels with features float32 (features, n); NaN is a gap.

        On the CPU, whatever the device: node by node, those pixels that get there, which takes half of scikit-learn's
        time.
        """
        x = pixels.cpu().numpy()
        holes, every = bool(np.isnan(x).any()), np.arange(x.shape[1])
        total = np.full(x.shape[1], float(self.base))
        names = ("feature", "cut", "left", "right", "gap_left", "value")
        for feature, cut, left, right, gap_left, value in zip(
            *(getattr(self, name).cpu().numpy() for name in names), strict=True
        ):
            here = {0: every}
            for i in range(len(value)):  # ways lead onwards only
                if (at := here.pop(i, None)) is None:
                    continue
                if left[i] == i:
                    total[at] += value[i]
                    continue
                asked = x[feature[i]][at]
                goes_left = asked <= cut[i]
                if holes and gap_left[i]:
                    goes_left |= np.isnan(asked)
                here[left[i]], here[right[i]] = at[goes_left], at[~goes_left]
        return torch.from_numpy(total).to(pixels.device)

    def instances(self, p: Tensor) -> dict[str, Tensor]:
        """Return the instances of one chip as `forward` does; p: float (h, w)."""
        c, t = self.config, self.config.tree_threshold
        where = p.cpu().numpy()
        found, _ = label_instances(where >= t)
        scored = [(where[m].mean() * (1 - math.exp(-m.sum() / MIN_PIXELS)), k) for k, m in enumerate(found)]
        best = [(s, k) for s, k in sorted(scored, key=lambda pair: -pair[0]) if s >= c.score_thresh][: c.max_dets]
        masks = np.array([found[k] for _, k in best]).reshape(-1, *p.shape).astype(bool)
        scores = torch.tensor([s for s, _ in best], dtype=p.dtype, device=p.device)
        inside = platt(p, 1.0, -math.log(t / (1 - t))).clamp(min=0.5)
        return {
            "boxes": torch.from_numpy(boxes_of(masks)).to(p.device),
            "scores": platt(scores, c.temperature, c.score_shift),
            "labels": torch.ones(len(best), dtype=torch.long, device=p.device),
            "masks": torch.from_numpy(masks).to(p.device) * inside,
        }


def leaves(trees: int, nodes: int) -> dict[str, Tensor]:
    """Return the arrays, (trees, nodes) each, of trees of which every node is a leaf that answers 0."""
    own, none = torch.arange(nodes).repeat(trees, 1), torch.zeros(trees, nodes)
    return {
        "feature": none.long(), "cut": none.clone(), "left": own, "right": own.clone(), "gap_left": none.bool(),
        "value": none.double(),
    }  # fmt: skip
