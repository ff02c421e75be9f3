"""A LazyConfig of the fused model, for detectron2's own training script:

    python tools/lazyconfig_train_net.py --config-file rtslib/models/detectron2/lazyconfig.py \\
        rts.data=FOLDER train.output_dir=OUT rts.knobs.backbone=small optimizer.lr=1e-4

(`tools/` is in detectron2's repository.) `rts.data` is a folder of chips, `rts.knobs` the knobs of
`rtslib.config.Config` that differ from their defaults. Normalisation, split and sides are those of
`rtslib.training.trainer`; the schedule (AdamW, linear warm-up, cosine) too, in iterations instead of epochs.
"""

from torch.cuda import is_available
from torch.optim import AdamW

from rtslib.models.detectron2.lazyparts import lazy_evaluator, lazy_loader, lazy_model

# isort: split
# After rtslib.models.detectron2.lazyparts, which says how to get detectron2.
from detectron2.config import LazyCall as L
from detectron2.solver import WarmupParamScheduler
from detectron2.solver.build import get_default_optimizer_params
from fvcore.common.param_scheduler import CosineParamScheduler

rts = dict(data="data", knobs=dict(engine="detectron2", mvit_like="detectron2", head_norm="BN"))

model = L(lazy_model)(data="${rts.data}", knobs="${rts.knobs}")

dataloader = dict(
    train=L(lazy_loader)(data="${rts.data}", knobs="${rts.knobs}", side="train"),
    test=L(lazy_loader)(data="${rts.data}", knobs="${rts.knobs}", side="test"),
    evaluator=L(lazy_evaluator)(data="${rts.data}", knobs="${rts.knobs}", side="test", out="${train.output_dir}"),
)

optimizer = L(AdamW)(
    params=L(get_default_optimizer_params)(
        base_lr="${..lr}",
        weight_decay_norm=0.0,
        overrides={name: {"weight_decay": 0.0} for name in ("rel_pos_h", "rel_pos_w")},
    ),
    lr=1.6e-4,
    weight_decay=0.1,
)

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(CosineParamScheduler)(start_value=1.0, end_value=0.0), warmup_length=0.05, warmup_factor=0.001
)

train = dict(
    output_dir="runs/detectron2",
    init_checkpoint="",
    max_iter=5000,
    amp=dict(enabled=is_available()),  # detectron2's mixed precision needs CUDA
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    checkpointer=dict(period=1000, max_to_keep=2),
    eval_period=1000,
    log_period=20,
    device="cuda" if is_available() else "cpu",
)
