"""The backbone against timm, its scales, its windows, its weights."""

import os
import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import save_file

from helpers.models import redraw
from rtslib.errors import WeightsError
from rtslib.models.mvit import DISTILLED, Extent, MViT, load_imagenet


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_equals_timm_at_its_native_size_without_windows(size):
    theirs = timm.create_model(f"mvitv2_{size}", num_classes=0).eval()
    redraw(theirs)
    ours = MViT(size, windows=False).eval()
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert unexpected == [] and all(k.startswith("scale_norms.") for k in missing)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pairs = list(zip(theirs.forward_intermediates(x, intermediates_only=True), ours.stage_maps(x)))
    for a, b in pairs:
        assert (a - b).abs().max() < 1e-4 and a.abs().max() > 1
    normed = theirs.norm(pairs[3][0].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    with torch.no_grad():
        assert (ours(x)[3] - normed).abs().max() < 1e-4


@pytest.mark.parametrize("height,width", [(64, 64), (160, 288), (224, 448)])
def test_scales_of_any_input_size(height, width):
    model = MViT("nano", in_chans=2).eval()
    with torch.no_grad():
        maps = model(torch.randn(2, 2, height, width))
    assert [tuple(m.shape) for m in maps] == [(2, 32 << i, height // (4 << i), width // (4 << i)) for i in range(4)]


def test_windows_change_nothing_where_one_window_is_the_map_and_much_where_not():
    torch.manual_seed(0)
    with_windows, without = MViT("nano").eval(), MViT("nano", windows=False).eval()
    redraw(with_windows)
    without.load_state_dict(with_windows.state_dict())
    for side, same in ((224, True), (448, False)):
        x = torch.randn(1, 3, side, side)
        with torch.no_grad():
            close = [torch.allclose(a, b, atol=1e-4) for a, b in zip(with_windows(x), without(x))]
        assert all(close) is same


def test_padding_that_is_hidden_from_attention_hardly_reaches_the_chip():
    """A 64 px chip alone, and as the corner of 128 px. What is left is what convolutions read across the edge."""
    torch.manual_seed(0)
    model = MViT("nano").eval()
    redraw(model)
    chip, seen = torch.randn(1, 3, 64, 64), torch.zeros(1, 32, 32, dtype=torch.bool)
    seen[:, :16, :16] = True
    padded = torch.nn.functional.pad(chip, (0, 64, 0, 64))
    with torch.no_grad():
        alone, told, untold = model(chip), model(padded, seen), model(padded)
    for i, small in enumerate(alone[:2]):  # of the small maps every token is at an edge
        inside = (..., slice(0, (12 >> i)), slice(0, (12 >> i)))
        off = [(big[inside] - small[inside]).abs().mean() for big in (told[i], untold[i])]
        assert off[0] < 0.2 * off[1], (i, off)


def test_hiding_no_token_changes_nothing():
    model, x = MViT("nano").eval(), torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        for a, b in zip(model(x), model(x, torch.ones(2, 16, 24, dtype=torch.bool)), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_pooled_extent_is_seen_where_any_token_was():
    seen = torch.zeros(1, 4, 6, dtype=torch.bool)
    seen[0, 0, 3] = True
    half = Extent((4, 6), seen).pooled([2, 3])
    assert half == (2, 3) and half.seen.nonzero().tolist() == [[0, 0, 1]]
    assert half.pooled((2, 3)).seen is half.seen and Extent([4, 6]).pooled((2, 3)).seen is None


def test_detectron2s_way_changes_outputs_but_no_parameter():
    """Doubled strides from stage 2 on; at 448 px windows in stage 1; at 256 px padded keys too."""
    timm_like, d2_like = MViT("nano").eval(), MViT("nano", like="detectron2").eval()
    redraw(timm_like)
    d2_like.load_state_dict(timm_like.state_dict())
    for side, first_same in ((224, True), (448, False), (256, False)):
        x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(side))
        with torch.no_grad():
            a, b = timm_like(x), d2_like(x)
        assert [m.shape for m in a] == [m.shape for m in b]
        assert torch.allclose(a[0], b[0], atol=1e-5) is first_same
        assert not any(torch.allclose(m, n, atol=1e-3) for m, n in zip(a[1:], b[1:]))


def test_blocks_that_attend_globally():
    def whole(like):
        return [[block.attn.q_window == 0 for block in stage.blocks] for stage in MViT("small", like=like).stages]

    last = [[j == len(stage.blocks) - 1 for j in range(len(stage.blocks))] for stage in MViT("small").stages]
    assert whole("timm") == last
    assert whole("detectron2") == [[False] * len(last[0]), *last[1:]]


PEAK = """
import resource, torch
from rtslib.models.mvit import DISTILLED, MViT
torch.set_num_threads(1)
model = MViT("nano").eval()
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with torch.no_grad():
    model(torch.zeros(1, 3, {side}, {side}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)
"""


def test_memory_grows_linearly_with_area():
    """4x the area may take 5x the memory, not 16x (a softmax of 128^2 x 32^2 logits alone is 64 MB)."""
    grown = []
    for side in (448, 896):
        code = PEAK.format(side=side)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
        grown.append(int(done.stdout))
    assert grown[1] < 5 * grown[0] + 20_000, grown


@pytest.mark.parametrize("bands", [3, 5])
def test_imagenet_weights_load_from_a_file_in_timms_format(tmp_path, bands):
    theirs = timm.create_model("mvitv2_tiny", num_classes=1000)
    redraw(theirs)
    save_file(theirs.state_dict(), tmp_path / "mvitv2_tiny.safetensors")
    ours = MViT("tiny", in_chans=bands)
    load_imagenet(ours, "tiny", tmp_path / "mvitv2_tiny.safetensors")
    assert torch.equal(ours.stages[2].blocks[1].attn.qkv.weight, theirs.stages[2].blocks[1].attn.qkv.weight)
    kernel = theirs.patch_embed.proj.weight
    rgb = ours.patch_embed.proj.weight[:, :3]
    torch.testing.assert_close(rgb, kernel * 3 / bands if bands != 3 else kernel)


@pytest.mark.parametrize("bands", [3, 8])
def test_weights_of_nano_come_along(bands):
    """Whole, finite, small enough to be shipped, and for other than three bands by timm's rule."""
    ours = MViT("nano", in_chans=bands)
    load_imagenet(ours, "nano")
    theirs = torch.load(DISTILLED, weights_only=True)
    assert torch.equal(ours.stages[2].blocks[1].attn.qkv.weight, theirs["stages.2.blocks.1.attn.qkv.weight"].float())
    kernel = theirs["patch_embed.proj.weight"].float()
    torch.testing.assert_close(ours.patch_embed.proj.weight[:, :3], kernel * 3 / bands if bands != 3 else kernel)
    with torch.inference_mode():
        maps = ours.eval()(torch.randn(1, bands, 64, 64))
    assert all(m.isfinite().all() and m.std() > 0 for m in maps)
    assert DISTILLED.stat().st_size < 16 * 2**20


def test_weights_that_cannot_be_had_say_so(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match="no ImageNet weights for nano"):
        load_imagenet(MViT("nano"), "nano", tmp_path / "nano.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\x00")
    with pytest.raises(WeightsError, match="mvitv2_tiny cannot be loaded"):
        load_imagenet(MViT("tiny"), "tiny", tmp_path / "cut.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="pretrained=false"):
        load_imagenet(MViT("small"), "small")
