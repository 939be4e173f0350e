"""In the real ComfyUI: the plot of Show Schedule, and each sampler's report on its run."""

import json
from typing import Any

import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.schedulers.pndm import PNDM
from comfyui_unconditional.schedulers.span import Stretch
from comfyui_unconditional.schedulers.timesteps import make_timesteps
from graphs import graph
from sampler_graphs import EMPTY, advanced, report_of, sampler
from wiring import Bench, Link, Wires


def drawn(bench: Bench, wires: Wires, model: Link, **inputs: Any) -> dict[str, Any]:
    key, _ = wires("UnconditionalShowSchedule", model=model, **{"steps": 50, **inputs})
    (text,) = bench.run(wires).outputs[key]["unconditional_schedule"]
    schedule = json.loads(text)
    assert set(schedule) == {"T", "t", "alphas_cumprod", "betas", "timesteps"}
    # The browser's JSON knows no infinity and no NaN.
    json.dumps(schedule, allow_nan=False)
    return schedule


# Show Schedule


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"beta_schedule": "laplace", "timestep_spacing": "trailing"},
        {"num_train_timesteps": 100, "timestep_spacing": "linspace"},
        {"rescale_betas_zero_snr": "true", "prediction_type": "v_prediction"},
    ],
    ids=str,
)
def test_the_drawing_has_the_values_of_the_schedule(options, wires, bench):
    found = drawn(bench, wires, wires.model(**options))
    config = SchedulerConfig(**{k: True if v == "true" else v for k, v in options.items()})
    schedule = NoiseSchedule.from_config(config)
    T = config.num_train_timesteps
    assert found["T"] == T
    assert found["t"] == list(range(T))
    assert found["timesteps"] == make_timesteps(config, 50)
    for name in ("alphas_cumprod", "betas"):
        difference = (torch.tensor(found[name]) - getattr(schedule, name)).abs().max()
        assert difference < 1e-6, name


def test_sigmas_mark_their_own_timesteps(wires, bench):
    model = wires.model()
    typed = wires.timesteps(model, timesteps="999, 750, 333, 7")
    assert drawn(bench, wires, model, sigmas=typed)["timesteps"] == [999, 750, 333, 7]
    wires = Wires()
    model = wires.model()
    karras = wires("BasicScheduler", model=model, scheduler="karras", steps=10, denoise=1.0)
    times = drawn(bench, wires, model, sigmas=karras)["timesteps"]
    assert times == sorted(set(times), reverse=True)
    assert 2 <= len(times) <= 10


@pytest.mark.parametrize("kind", ["EPS", "V_PREDICTION"])
def test_the_schedule_of_a_model_shaped_like_stable_diffusion_is_drawn(kind, wires, bench):
    found = drawn(bench, wires, wires("TestTinyModel", kind=kind, seed=0))
    scaled = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    schedule = NoiseSchedule.from_config(SchedulerConfig(**scaled))  # type: ignore[arg-type]
    for name in ("alphas_cumprod", "betas"):
        difference = (torch.tensor(found[name]) - getattr(schedule, name)).abs().max()
        assert difference < 1e-6, name


def test_the_hosts_own_schedule_node_is_drawn(wires, bench):
    model = wires("ModelSamplingDiscrete", model=wires.model(), sampling="v_prediction", zsnr=True)
    assert drawn(bench, wires, model)["alphas_cumprod"][-1] < 1e-6


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"steps": 1001}, "steps must be from 1 to 1000"),
        ({"sigmas": "flipped"}, "These SIGMAS are not in descending order"),
        ({"sigmas": "empty"}, "contain no step"),
        ({"sigmas": "one"}, "contain no step"),
    ],
    ids=str,
)
def test_steps_that_cannot_be_marked_are_an_error_on_the_node(inputs, words, wires, bench):
    model = wires.model()
    if kind := inputs.get("sigmas"):
        some = wires.timesteps(model, 5, denoise=0.0 if kind == "empty" else 1.0)
        if kind == "flipped":
            some = wires("FlipSigmas", sigmas=some)
        if kind == "one":
            some = [wires("SplitSigmas", sigmas=some, step=5)[0], 1]
        inputs = {"sigmas": some}
    node = wires("UnconditionalShowSchedule", model=model, **{"steps": 50, **inputs})
    bench.fails(wires, None, words, node=node[0])


# The report of a run


@pytest.mark.parametrize("convention", ["diffusers", "paper"])
@pytest.mark.parametrize("method", ["F-PNDM", "S-PNDM", "PLMS", "FON"])
def test_pndm_reports_the_steps_of_the_core_and_of_the_progress(method, convention, client):
    run = client.run(graph(steps=10, method=method, convention=convention, seed=31))
    assert run.error is None, run.error
    report = json.loads(run.outputs["2"]["unconditional_run"][0])
    config = SchedulerConfig()
    planned = PNDM.over(config, Stretch(10), method=method, convention=convention)
    assert report["steps"] == 10
    assert report["timesteps"] == list(planned.span.timesteps)
    assert report["end"] is None
    assert report["evaluations"] == planned.evaluations == run.progress[-1][1]
    assert 0 < report["seconds_per_image"] < 60


@pytest.mark.parametrize("kind", ["DDPM", "DDIM"])
def test_ddpm_and_ddim_report_their_timesteps(kind, wires, bench):
    report = report_of(bench, wires, sampler(wires, kind, wires.model(), steps=25, batch_size=3))
    assert (report["steps"], report["evaluations"]) == (25, 25)
    assert report["timesteps"] == make_timesteps(SchedulerConfig(), 25)


@pytest.mark.parametrize("kind", ["PNDM", "DDPM", "DDIM"])
def test_a_part_of_the_steps_reports_where_it_started_and_ended(kind, wires, bench):
    part = {"start_at_step": 2, "end_at_step": 6, "return_with_leftover_noise": "enable"}
    latent = bench.put(wires, EMPTY)
    report = report_of(bench, wires, advanced(wires, kind, wires.model(), latent, **part))
    assert report["timesteps"] == [700, 600, 500, 400]
    assert report["end"] == 300
    assert report["steps"] == 4


def test_a_node_that_passes_its_latent_on_reports_that_nothing_ran(wires, bench):
    latent = bench.put(wires, EMPTY)
    node = sampler(wires, "DDIM", wires.model(), latent=latent, denoise=0.0)
    report = report_of(bench, wires, node)
    assert (report["steps"], report["evaluations"], report["timesteps"]) == (0, 0, [])


def test_the_host_counts_only_pictures_as_the_results_of_a_run(host, client):
    # The editor shows that number on the picture.
    prompt = graph(seed=47)
    inputs = {"model": ["1", 0], "steps": 50}
    prompt["4"] = {"class_type": "UnconditionalShowSchedule", "inputs": inputs}
    run = client.run(prompt)
    assert {"2", "3", "4"} <= set(run.outputs)
    assert client.get(f"/api/jobs/{run.prompt_id}")["outputs_count"] == 1


def test_a_cached_sampler_reports_the_same(wires, bench):
    node = sampler(wires, "DDIM", wires.model(), seed=4711)
    first = report_of(bench, wires, node)
    wires("TestSaveLatent", samples=node, name="report-again")
    again = bench.run(wires).outputs
    if node[0] not in again:
        # Some hosts before 0.30 do not report; the editor keeps what it shows.
        assert bench.host.version < (0, 30)
        return
    (text,) = again[node[0]]["unconditional_run"]
    assert json.loads(text) == first  # its seconds too: nothing ran
