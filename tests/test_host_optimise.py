"""In the real ComfyUI: Optimise Timesteps, and the use of its lists."""

import json

import torch
from sampler_graphs import sampler
from wiring import Wires

SEARCH = {"seed": 3, "images": 4, "teacher_evaluations": 20, "refine": False}


def optimised(wires, model, **inputs):
    return wires("UnconditionalOptimiseTimesteps", model=model, **{**SEARCH, **inputs})


def plain(wires):
    """digits-16 without the lists that it comes with."""
    return wires.model(timestep_scale=1.0)


def few(wires, model, **more):
    how = {"method": "iPNDM_v", "spacing": "optimised", "steps": 5, **more}
    return sampler(wires, "PNDM", model, **how)


def test_the_samplers_use_the_lists_and_a_saved_model_keeps_them(wires, bench):
    found = optimised(wires, plain(wires))
    shown, _ = wires("UnconditionalShowSchedule", model=found, steps=5, spacing="optimised")
    wires("UnconditionalUNetSave", model=found, filename_prefix="optimised")
    sigmas = wires.timesteps(found, 5, spacing="optimised")
    latent = bench.put(wires, torch.zeros(1, 1, 16, 16))
    select = wires("UnconditionalPNDMSamplerSelect", method="iPNDM_v")
    custom = wires.custom(found, select, sigmas, latent, seed=7)
    direct, by_parts = few(wires, found), custom
    name = bench.folder / "lists.npy"
    wires("TestSaveLatent", samples=direct, name=name.stem)
    run = bench.run(wires)

    # The node says how well they do.
    lines = run.outputs[found[0]]["text"]
    assert lines[0].startswith("Found in ")
    assert [line.split(" steps:")[0] for line in lines[1:]] == [*map(str, range(4, 11)), "14"]
    (drawn,) = run.outputs[shown]["unconditional_schedule"]
    times = json.loads(drawn)["timesteps"]
    assert len(times) == 5
    (report,) = run.outputs[direct[0]]["unconditional_run"]
    assert json.loads(report)["timesteps"] == times

    # The same by hand, and from the saved model.
    saved = json.loads(
        (bench.host.output / "diffusers/optimised/scheduler/optimised_timesteps.json").read_text()
    )
    assert saved["timesteps"]["5"] == times
    again = Wires()
    loaded = again.model("optimised")
    one, two = bench.get(again, few(again, loaded), few(again, loaded, steps=6))
    wires("TestSaveLatent", samples=by_parts, name="by_parts")
    (by_hand,) = bench.get(wires, few(wires, found))
    assert torch.equal(one, by_hand)
    assert not torch.equal(one, two)


def test_without_lists_the_sampler_names_the_node_that_finds_them(wires, bench):
    node = few(wires, plain(wires))
    bench.fails(wires, node, "Connect 'Optimise Timesteps'", node=node[0])
    # A changed schedule forgets them.
    wires = Wires()
    found = wires.scheduled(optimised(wires, plain(wires)), beta_end=0.03)
    node = few(wires, found)
    bench.fails(wires, node, "Connect 'Optimise Timesteps'", node=node[0])
