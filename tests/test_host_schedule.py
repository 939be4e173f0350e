"""In the real ComfyUI: the Noise Schedule node."""

import ours
import pytest
import torch
import toys
from comfyui_unconditional.schedulers.config import SchedulerConfig
from sampler_graphs import exact_network, sampler
from wiring import Wires

SHAPE = (1, 16, 16)


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"beta_start": 0.001, "beta_end": 0.01},
        {"num_train_timesteps": 500},
        {"prediction_type": "v_prediction"},
        {"prediction_type": "sample"},
        {"timestep_spacing": "trailing"},
        {"steps_offset": 1},
        {"set_alpha_to_one": "false"},
        {"clip_sample": "false"},
        {"clip_sample_range": 0.5},
        {"thresholding": "true"},
        {"rescale_betas_zero_snr": "true", "prediction_type": "v_prediction"},
        {"preset": "dark or bright pictures"},
        {"preset": "dark or bright pictures", "timestep_spacing": "leading"},
    ],
    ids=str,
)
def test_each_option_overrides_the_models(inputs, bench):
    options = {name: {"true": True, "false": False}.get(v, v) for name, v in inputs.items()}
    if options.pop("preset", None):
        options = {"timestep_spacing": "trailing", "clip_sample": False} | options
    config = SchedulerConfig(**options)
    wires = Wires()
    plain = wires.exact(wires.model())
    changed = wires.scheduled(plain, **inputs)
    results = bench.get(
        wires,
        sampler(wires, "DDIM", changed, eta=0.0),
        sampler(wires, "PNDM", changed, method="PLMS"),
        sampler(wires, "DDIM", plain, eta=0.0),
    )
    expected = ours.run_ddim(config, 10, exact_network(), [7], SHAPE)
    assert ours.difference(results[0], expected, inside=False) < 1e-5
    expected = ours.run_pndm(config, 10, exact_network(), [7], SHAPE, method="PLMS")
    assert ours.difference(results[1], expected, inside=False) < 1e-5
    # The input MODEL is unchanged.
    expected = ours.run_ddim(SchedulerConfig(), 10, exact_network(), [7], SHAPE)
    assert ours.difference(results[2], expected) < 1e-5


def test_the_network_receives_times_on_its_own_scale(wires, bench):
    model = wires.exact(wires.model(num_train_timesteps=4000, timestep_scale=0.25))
    (result,) = bench.get(wires, sampler(wires, "DDIM", model, eta=0.0))
    scaled = exact_network()
    expected = ours.run_ddim(
        SchedulerConfig(num_train_timesteps=4000), 10, lambda x, t: scaled(x, t * 0.25), [7], SHAPE
    )
    assert ours.difference(result, expected, inside=False) < 1e-5


def test_the_hosts_samplers_use_the_changed_schedule_too(wires, bench):
    model = wires.model(beta_schedule="squaredcos_cap_v2")
    wires("TestSaveSigmas", sigmas=wires.timesteps(model, 5))
    found = bench.run(wires).outputs[str(len(wires.graph))]["sigmas"]
    plain = Wires()
    plain("TestSaveSigmas", sigmas=plain.timesteps(plain.model(), 5))
    assert found != bench.run(plain).outputs[str(len(plain.graph))]["sigmas"]


def test_betas_given_one_by_one_end_where_their_formula_is_chosen(bench, models):
    betas = [0.0001 + 2e-5 * i for i in range(1000)]
    toys.write_checkpoint(models / "betas", toys.TINY, scheduler={"trained_betas": betas})
    wires = Wires()
    kept = wires.model("betas", clip_sample="true")
    changed = wires.scheduled(kept, beta_schedule="linear", beta_end=0.002)
    one, two = bench.get(wires, *(sampler(wires, "DDIM", m) for m in (kept, changed)))
    assert not torch.equal(one, two)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"num_train_timesteps": 0}, "'num_train_timesteps' must be a whole number"),
        ({"beta_end": float("nan")}, "'beta_end' must be a number"),
        ({"timestep_scale": 0}, "'timestep_scale' must be a number"),
    ],
    ids=str,
)
def test_an_invalid_option_is_an_error_on_the_node(inputs, words, wires, bench):
    node = wires.model(**inputs)
    bench.fails(wires, sampler(wires, "DDIM", node), words, node=node[0])


def test_the_hosts_own_schedule_node_is_rejected_by_our_samplers_with_what_to_use(wires, bench):
    model = wires("ModelSamplingDiscrete", model=wires.model(), sampling="v_prediction", zsnr=True)
    node = sampler(wires, "DDIM", model)
    bench.fails(wires, node, "Use 'Noise Schedule' instead", node=node[0])

    # As a SAMPLER it follows that schedule.
    wires = Wires()
    model = wires("ModelSamplingDiscrete", model=wires.model(), sampling="eps", zsnr=False)
    select = wires("UnconditionalPNDMSamplerSelect", method="F-PNDM")
    latent = bench.put(wires, torch.zeros(1, *SHAPE))
    bench.get(wires, wires.custom(model, select, wires.timesteps(model, 10), latent, seed=7))


def test_a_saved_model_keeps_the_changed_schedule(wires, bench):
    changed = wires.model(beta_schedule="squaredcos_cap_v2", timestep_scale=0.5)
    inputs = {"model": changed, "filename_prefix": "rescheduled"}
    key, _ = wires("UnconditionalUNetSave", **inputs)
    text = bench.run(wires).outputs[key]["text"][0]
    assert "diffusers does not support its timestep_scale" in text
    (before,) = bench.get(wires, sampler(wires, "DDIM", changed))
    wires = Wires()
    (after,) = bench.get(wires, sampler(wires, "DDIM", wires.model("rescheduled")))
    assert torch.equal(before, after)
