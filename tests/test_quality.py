"""The measuring instruments of benchmarks/quality."""

from pathlib import Path

import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig

from benchmarks.quality import distances, features, results
from benchmarks.quality.converged import converge
from benchmarks.quality.measure import median, rms, rms_of_the_rest
from benchmarks.quality.network import Network
from benchmarks.quality.results import Cell, Results
from benchmarks.quality.samplers import OURS, ROWS
from benchmarks.quality.tables import Value, evaluations_for


def gaussian(mean: float, std: float, n: int = 4000) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return mean + std * torch.randn(n, 5, generator=g, dtype=torch.float64)


def test_the_committed_classifier_knows_digits_that_it_was_not_trained_on() -> None:
    assert features.accuracy(features.load_classifier()) > 0.98


def test_the_frechet_distance_of_two_gaussians_is_that_of_their_moments() -> None:
    a, b = gaussian(0, 1), gaussian(0.5, 2)
    assert distances.frechet(a, a) == pytest.approx(0, abs=1e-6)
    # The same draws, so that only sampling of one set shows: 5 (0.5^2 + (2 - 1)^2).
    assert distances.frechet(a, b) == pytest.approx(6.25, abs=0.3)
    assert distances.frechet(a, b) == pytest.approx(distances.frechet(b, a))


def test_the_kernel_distance_of_two_halves_of_one_set_is_none() -> None:
    x = gaussian(0, 1)
    assert distances.kernel_distance(x[:2000], x[2000:]) == pytest.approx(0, abs=0.02)
    assert distances.kernel_distance(x[:2000], x[2000:] + 1) > 0.5


def test_a_cell_has_the_most_steps_that_divide_t_and_fit_the_evaluations() -> None:
    config = SchedulerConfig()
    assert [ROWS["F-PNDM"].steps_within(config, n) for n in (3, 5, 20, 50, 100)] == [
        None,
        2,
        10,
        40,
        50,
    ]
    assert [ROWS["DDIM"].steps_within(config, n) for n in (1, 7, 50, 300)] == [1, 5, 50, 250]


@pytest.mark.parametrize("row", OURS, ids=lambda row: row.name)
def test_a_sampler_asks_the_network_as_often_as_its_row_says(row) -> None:
    network, seen = Network("digits-16"), []
    network.on_call = seen.append
    images = row.images(network, 4, range(3), batch=2)
    assert images.shape == (3, 1, 16, 16)
    calls = row.evaluations(network.config, 4)
    assert seen == [2] * calls + [1] * calls


def test_both_ways_to_the_converged_image_come_near_each_other_at_both_ends() -> None:
    network, seeds = Network("digits-16"), range(2)
    pndm, ddim = (converge(network, row, 100, seeds, 2) for row in ("F-PNDM", "DDIM"))
    for end in ("data", "first"):
        assert rms(pndm[end], ddim[end]) < 0.03
    assert 0.005 < rms(pndm["data"], pndm["first"]) < 0.015  # the noise of timestep 0


def test_one_image_that_comes_out_otherwise_moves_the_mean_square_alone() -> None:
    a = torch.zeros(5, 1, 4, 4)
    b = a + torch.tensor([0.1, 0.1, 0.1, 0.1, 1]).reshape(5, 1, 1, 1)
    assert rms(a, b) == pytest.approx((1.04 / 5) ** 0.5)
    assert rms_of_the_rest(a, b) == pytest.approx(0.1)
    assert median(a, b) == pytest.approx(0.1)


@pytest.fixture
def nothing_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in {"RUNS": tmp_path, "LINES": tmp_path / "cells.jsonl"}.items():
        monkeypatch.setattr(results, name, value)
    monkeypatch.setattr(results, "COMMITTED", tmp_path / "quality.json")
    return tmp_path


def test_a_stopped_run_goes_on_after_its_last_finished_cell(nothing_measured: Path) -> None:
    one, other = (Cell("sets", "digits-16", "DDIM", steps) for steps in (5, 10))
    first = Results()
    first.add(one, frechet=1.5)
    first.commit()
    assert Results().get(one) == first.get(one)
    assert Results().get(other) is None
    (nothing_measured / "cells.jsonl").unlink()
    found = Results().get(one)
    assert found is not None
    assert found["frechet"] == 1.5


def test_evaluations_are_interpolated_between_measured_points_on_log_scales() -> None:
    points = [Value((0.4,), 10, 10), Value((0.1,), 40, 40)]
    assert evaluations_for(0.2, points) == pytest.approx(20)
    assert evaluations_for(0.5, points) is None
    assert evaluations_for(0.05, points) is None
