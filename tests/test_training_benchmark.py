import pytest
import torch
from comfyui_unconditional.unet.unet2d import UNet2D
from training_toys import UNET

from benchmarks.training import script as script_module
from benchmarks.training import theirs
from benchmarks.training.script import Script


def test_the_recipe_without_diffusers_trains_as_the_loop_with_diffusers(monkeypatch):
    # Large enough for the warm-up's first steps to change the weights.
    for module in (script_module, theirs):
        monkeypatch.setattr(module, "LEARNING_RATE", 0.5)
    torch.manual_seed(0)
    network = UNet2D(UNET)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    shape = {n: v for n, v in UNET.to_dict().items() if n != "_class_name"}
    loop = theirs.Loop(shape, before)
    images = torch.rand(5, 1, 8, 8) * 2 - 1
    script = Script(network, images, torch.device("cpu"))

    for step in range(6):
        eps, t = torch.randn_like(images), torch.randint(1000, (5,))
        expected = loop.learn(images, eps, t, averaging=True)
        assert script.learn(images, eps, t, step / 6) == pytest.approx(expected, rel=1e-3)

    theirs_now = dict(loop.model.named_parameters())
    averages = dict(zip(theirs_now, loop.average.shadow_params, strict=True))
    for ours, expected in ((script.network, theirs_now), (script.averaged, averages)):
        moved = torch.cat([(expected[n] - before[n]).flatten() for n in before]).norm()
        apart = torch.cat([(w - expected[n]).flatten() for n, w in ours.named_parameters()]).norm()
        assert moved > 0.1
        assert apart < 0.01 * moved
