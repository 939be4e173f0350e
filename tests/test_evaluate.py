"""Generated pictures against a reference: figures, sets, copies, the record and the command."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_unconditional.evaluate import command, distances
from comfyui_unconditional.evaluate.comparison import compare
from comfyui_unconditional.evaluate.copies import Copies
from comfyui_unconditional.evaluate.distances import (
    Points,
    frechet,
    kernel_distance,
    precision_recall,
)
from comfyui_unconditional.evaluate.features import DigitFeatures
from comfyui_unconditional.evaluate.image_sets import digits_set, open_set, tensor_set
from comfyui_unconditional.evaluate.measured import measure
from comfyui_unconditional.models.digits import digits
from PIL import Image
from torch import Tensor

FEATURES = DigitFeatures()


def real(first: int, last: int) -> Tensor:
    """Real digits, uint8, shape (n, 16, 16)."""
    return ((digits()[0][first:last, 0] / 2 + 0.5) * 255).round().byte()


def write_run(folder: Path, pixels: Tensor) -> Path:
    for seed, image in enumerate(pixels.numpy()):
        path = folder / f"{seed // 100 * 100:06d}" / f"{seed:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def cloud(n: int, seed: int, d: int = 24) -> Tensor:
    """Features with their own mean and correlations."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=g) / 4 + torch.eye(d)
    return torch.randn(n, d, generator=g) @ mix + torch.randn(d, generator=g) / 4


@pytest.mark.parity
def test_the_figures_are_those_of_torch_fidelity(figure):
    from torch_fidelity import metric_fid, metric_kid, metric_prc

    drawn, reference = cloud(400, 1).double(), cloud(400, 2).double()
    statistics = map(metric_fid.fid_features_to_statistics, (drawn, reference))
    fid = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    a, b = Points.of(drawn), Points.of(reference)
    ours = frechet(a.gaussian, b.gaussian)
    figure("Fréchet distance", abs(ours / fid[metric_fid.KEY_METRIC_FID] - 1), 1e-6)
    whole = {"kid_subsets": 1, "kid_subset_size": 400, "verbose": False}
    kid = metric_kid.kid_features_to_metric(drawn, reference, **whole)
    ours = kernel_distance(a, b)
    figure("KID", abs(ours / kid[metric_kid.KEY_METRIC_KID_MEAN] - 1), 1e-6)
    prc = metric_prc.prc_features_to_metric(drawn, reference, verbose=False)
    assert 0 < prc["precision"] < 1
    assert precision_recall(a, b) == pytest.approx((prc["precision"], prc["recall"]))


def test_a_shift_moves_the_frechet_distance_by_its_square_and_equal_sets_have_none():
    x, shift = cloud(300, 1), torch.linspace(-1, 1, 24, dtype=torch.float64)
    a, moved = Points.of(x).gaussian, Points.of(x + shift).gaussian
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, moved) == pytest.approx(shift.square().sum().item(), rel=1e-9)


def test_sets_are_compared_in_parts_with_the_same_result(monkeypatch):
    def compared() -> tuple[float, ...]:
        a, b = Points.of(cloud(70, 1)), Points.of(cloud(50, 2))
        return kernel_distance(a, b), *precision_recall(a, b)

    whole = compared()
    monkeypatch.setattr(distances, "_VALUES", 500)
    assert compared() == pytest.approx(whole, rel=1e-12)


def test_the_same_pixels_are_the_same_set_in_a_folder_an_archive_and_a_batch(tmp_path):
    pixels = real(0, 130)
    np.savez(tmp_path / "batch.npz", pixels[..., None].expand(-1, -1, -1, 3).numpy())
    sets = [
        open_set(write_run(tmp_path / "run", pixels)),
        open_set(tmp_path / "batch.npz"),
        tensor_set([pixels[:100, ..., None] / 255, pixels[100:, ..., None] / 255], "images"),
    ]
    first, *others = (measure(images, FEATURES) for images in sets)
    assert len(first) == 130
    for other in others:
        assert other.sha256 == first.sha256
        assert torch.equal(other.features, first.features)
    changed = pixels.clone()
    changed[7, 3, 3] ^= 1
    again = measure(tensor_set([changed[..., None] / 255], "images"), FEATURES)
    assert again.sha256 != first.sha256


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "does not exist"),
        ({"notes.txt": b"x"}, "has no pictures"),
        ({"a.png": b"\x89PNG\r\n\x1a\nhalf"}, "a.png in .* cannot be read: it is damaged"),
        ({"a.png": (16, 16), "b.png": (20, 16)}, "b.png in .* has 16 x 20 pixels"),
        ({"a.png": (32, 32)}, "16 x 16 pixels, but the pictures in .* have 32 x 32"),
        ({"x.npz": {"arr_0": np.zeros((2, 16, 16, 3))}}, "uint8"),
        ({"x.npz": {"arr_0": np.array([{}])}}, "cannot be read"),
        ({"x.npz": {"other": np.zeros(2)}}, r"neither pictures \(arr_0\) nor statistics"),
        ({"x.npz": {"mu": np.zeros(3), "sigma": np.eye(4)}}, "covariance of shape"),
        ({"x.npz": {"mu": np.zeros(3), "sigma": np.eye(3)}}, "statistics of 3 features"),
        ({"x.npz": b"PK half"}, "cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_anything_but_a_set_of_pictures_is_rejected_with_the_reason(content, words, tmp_path):
    folder = tmp_path / "set"
    for name, what in content.items():
        folder.mkdir(exist_ok=True)
        if isinstance(what, bytes):
            (folder / name).write_bytes(what)
        elif isinstance(what, dict):
            np.savez(folder / name, **what)
        else:
            Image.new("L", what).save(folder / name)
    path = folder / "x.npz" if "x.npz" in content else folder
    with pytest.raises(ValueError, match=words):
        measure(open_set(path), FEATURES)


def test_pictures_of_another_size_are_only_fitted_on_request(tmp_path):
    small, large = tensor_set([torch.rand(12, 16, 16, 1)], "run"), torch.rand(12, 40, 32, 1)
    run = measure(small, FEATURES)
    with pytest.raises(ValueError, match=r"has 40 x 32 pixels .* not 16 x 16"):
        measure(tensor_set([large], "reference"), FEATURES, size=run.size)
    reference = measure(tensor_set([large], "reference"), FEATURES, size=run.size, fit=True)
    assert reference.fitted == 12
    notes = compare([run], reference, FEATURES, 1).notes
    assert any("12 of 12 pictures of the reference had another size" in note for note in notes)


def test_the_frechet_distance_of_fewer_images_than_features_is_not_computed(tmp_path):
    few, many = (
        measure(tensor_set([real(*part)[..., None] / 255], "x"), FEATURES)
        for part in ((0, 30), (100, 300))
    )
    for run, reference, of in ((few, many, "a range"), (many, few, "the reference")):
        found = compare([run], reference, FEATURES, 1)
        assert [figure.key for figure in found.figures] == ["kid", "precision", "recall"]
        words = f"needs more images than features (32), and {of} has 30."
        assert words in "".join(found.notes)
    few.to_statistics(FEATURES).write(tmp_path / "few.npz")
    with pytest.raises(ValueError, match="the reference has 30"):
        compare([many], measure(open_set(tmp_path / "few.npz"), FEATURES), FEATURES, 2)
    with pytest.raises(ValueError, match="A range has 3 images"):
        compare([few], many, FEATURES, 10)


def test_statistics_replace_the_reference_and_those_in_a_file_take_precedence(tmp_path):
    run = measure(tensor_set([real(0, 200)[..., None] / 255], "run"), FEATURES)
    reference = measure(digits_set(), FEATURES)
    (expected, *_), file = compare([run], reference, FEATURES, 2).figures, tmp_path / "digits.npz"
    reference.to_statistics(FEATURES).write(file)
    found = compare([run], measure(open_set(file), FEATURES), FEATURES, 2)
    (only,) = found.figures
    assert only.values == pytest.approx(expected.values, rel=1e-12)
    assert "reference 1,797" in found.lines[0]
    # As guided-diffusion's: some of the pictures, with the statistics of all.
    with np.load(file) as content:
        mu, sigma = content["mu"], content["sigma"]
    some = real(500, 600)[..., None].expand(-1, -1, -1, 3).numpy()
    np.savez(file, arr_0=some, mu=mu, sigma=sigma, mu_s=mu, sigma_s=sigma)
    found = compare([run], measure(open_set(file), FEATURES), FEATURES, 2)
    assert found.figures[0].values == pytest.approx(expected.values, rel=1e-12)
    assert len(found.figures) == 4
    assert "does not say how its pictures were resized" in "".join(found.notes)
    too_few = measure(tensor_set([real(0, 40)[..., None] / 255], "run"), FEATURES)
    np.savez(file, mu=mu, sigma=sigma)
    with pytest.raises(ValueError, match=r"KID.*It needs the reference's pictures"):
        compare([too_few], measure(open_set(file), FEATURES), FEATURES, 2)


def test_copies_are_counted_and_the_nearest_pairs_come_first():
    reference = real(0, 300)[:, None].expand(-1, 3, -1, -1)
    new = real(600, 620)[:, None].expand(-1, 3, -1, -1)
    found = Copies.find(torch.cat([new, reference[40:44].flip(-1)]), reference)
    assert found.copying.copies == 4
    assert found.copying.ratios.argsort()[:4].sort().values.tolist() == [20, 21, 22, 23]
    assert torch.equal(found.copying.nearest[21], reference[41].flip(-1))
    sheet = found.sheet()
    first = (sheet[0, :64, :64], sheet[0, :64, 66:130])  # enlarged by 4, with a gap of 2
    assert torch.equal(*first)


def test_the_command_prints_mean_and_spread_and_writes_a_record_to_repeat_them(tmp_path, capsys):
    run = write_run(tmp_path / "run", real(0, 301))
    (run / "run.json").write_text('{"seed": 5}')
    arguments = [
        str(run),
        "sklearn-digits",
        "--features",
        "digits",
        "--out",
        str(tmp_path / "found.json"),
    ]
    assert command.main(arguments) == 0
    said = capsys.readouterr().out
    record = json.loads((tmp_path / "found.json").read_text())
    values = record["figures"]["frechet"]
    assert len(values["ranges"]) == 3
    mean, spread = np.mean(values["ranges"]), np.std(values["ranges"], ddof=1)
    assert f"Fréchet distance: {mean:.3f} ± {spread:.3f} (3 ranges of 100 images" in said
    assert "The figures are of the first 300 of 301 images" in said
    assert "301 of the images are exactly pictures of the reference" in said
    assert record["copies"]["copies"] > 250
    assert record["runs"][0]["made"] == {"seed": 5}
    assert record["ranges"][1]["first"] == "000100/000100.png"
    assert record["reference"]["images"] == 1797
    assert len(record["runs"][0]["sha256"]) == 64
    assert Image.open(tmp_path / "found.png").width > 500
    (tmp_path / "found.json").unlink()
    assert command.main([*arguments, "--no-copies"]) == 0
    again = json.loads((tmp_path / "found.json").read_text())
    assert again["figures"] == record["figures"]


def test_several_runs_count_as_ranges_and_must_be_comparable(tmp_path, capsys):
    runs = [str(write_run(tmp_path / f"{k}", real(k, k + 40 + k // 200))) for k in (0, 100, 200)]
    options = ["sklearn-digits", "--features", "digits", "--no-copies"]
    assert command.main([*runs[:2], *options]) == 0
    assert "(2 ranges of 40 images" in capsys.readouterr().out
    assert command.main([*runs, *options]) == 1
    assert "have 40, 40, 41 images" in capsys.readouterr().err
    assert command.main([runs[0], runs[0], *options]) == 1
    assert "exactly the same images" in capsys.readouterr().err


def test_without_the_extra_the_command_says_what_to_install(tmp_path, capsys, monkeypatch):
    for module in ("torch_fidelity", "torch_fidelity.feature_extractor_inceptionv3"):
        monkeypatch.setitem(sys.modules, module, None)
    run = str(write_run(tmp_path / "run", real(0, 30)))
    assert command.main([run, run]) == 1
    assert 'pip install -e ".[evaluate]"' in capsys.readouterr().err
