"""From generated pictures and a reference to figures, and to the nearest pairs."""

from typing import Any, get_args

import comfy.model_management
import comfy.utils
from comfy_api.latest import io
from comfy_execution.graph import ExecutionBlocker
from torch import Tensor

from ..evaluate.base import Features, FeaturesName
from ..evaluate.comparison import RANGES, compare
from ..evaluate.copies import Copies
from ..evaluate.extra import needs_extra
from ..evaluate.features import make_features
from ..evaluate.image_sets import DIGITS, ImageSet, digits_set, open_set, tensor_set
from ..evaluate.measured import Measured, Size, measure
from ..evaluate.record import as_text, make_record
from ..host.picture_folders import find_entered, listing
from ..host.run_report import REPORTS
from ..schedulers.errors import UserError
from .inputs import CATEGORY


class UnconditionalCompareSets(io.ComfyNode):
    """Compare Image Sets."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalCompareSets",
            display_name="Compare Image Sets",
            category=CATEGORY,
            description="Measures how close generated images are to a reference, for example the "
            "training pictures: Fréchet distance (FID), kernel distance (KID), precision "
            "and recall. It also finds copies.",
            search_aliases=["evaluate", "fid", "frechet", "kid", "memorization", "precision"],
            is_output_node=True,
            is_input_list=True,
            inputs=[*_inputs()],
            outputs=[
                io.String.Output(
                    display_name="report", tooltip="The figures, and the record to repeat them."
                ),
                io.Image.Output(
                    display_name="pairs",
                    tooltip="The images that are closest to a picture of the reference, each to "
                    "the left of that picture.",
                ),
            ],
            **REPORTS,
        )

    @classmethod
    def fingerprint_inputs(cls, **given: Any) -> Any:
        """Return another value if the files have changed."""
        return [
            _listed((given.get(name) or [""])[0] or "", roots) for name, roots in _ROOTS.items()
        ]

    @classmethod
    def execute(cls, **given: Any) -> io.NodeOutput:
        images = given.pop("images", None) or []
        values = {name: value[0] for name, value in given.items()}
        with needs_extra():
            drawn, reference = _drawn(values["folder"], images), _reference(values["reference"])
            features = _features(values["features"], values["inception_file"])
            run = _measured(drawn, features)
            against = _measured(reference, features, run.size)
            comparison = compare([run], against, features, values["ranges"])
        copies = Copies.find(run.small, against.small) if len(against) else None
        lines = [*comparison.lines, *([str(copies)] if copies else [])]
        report = "\n".join([*lines, "", as_text(make_record(comparison, features, copies))])
        sheet = ExecutionBlocker(None) if copies is None else copies.sheet()
        return io.NodeOutput(report, sheet, ui={"text": lines})


_ROOTS = {
    "folder": ("output", "input"),
    "reference": ("input", "output", "models"),
    "inception_file": ("models", "input"),
}
"""The ComfyUI folders in which each of these inputs is looked up."""
_INCEPTION_MEMORY = 2 * 1024**3


def _inputs() -> list[Any]:
    return [
        io.String.Input(
            "folder",
            default="",
            tooltip="The folder with the generated images, including its subfolders: a full path, "
            "or one relative to ComfyUI/output. Leave empty if images is connected.",
        ),
        io.String.Input(
            "reference",
            default="",
            tooltip="What to compare with: a folder of pictures in ComfyUI/input or output, a .npz "
            "file with pictures or statistics in ComfyUI/models, or a full path. "
            "sklearn-digits means scikit-learn's handwritten digits. Pictures of another "
            "size are resized and cropped.",
        ),
        io.Combo.Input(
            "features",
            options=list(get_args(FeaturesName)),
            tooltip="The features used to compare images. inception: as for FIDs in papers; needs "
            "the package torch-fidelity. digits: only for digits of 16 x 16 pixels; needs "
            "no extra package.",
        ),
        io.Int.Input(
            "ranges",
            default=RANGES,
            min=1,
            max=100,
            tooltip="The number of consecutive parts to divide the images into. The figures are "
            "the mean over the parts and their standard deviation.",
            advanced=True,
        ),
        io.String.Input(
            "inception_file",
            default="",
            tooltip="The file with Inception's weights: a full path, or one relative to "
            "ComfyUI/models. Leave empty to download it once.",
            advanced=True,
        ),
        io.Image.Input(
            "images",
            optional=True,
            tooltip="Generated images instead of a folder: a batch, or a list of batches of one "
            "size.",
        ),
    ]


def _listed(text: str, roots: tuple[str, ...]) -> list[tuple[str, int, int]]:
    try:
        return sorted(listing(find_entered(text, *roots)))
    except (ValueError, OSError):  # nothing is entered, or the run says what is wrong
        return []


def _drawn(folder: str, images: list[Tensor]) -> ImageSet:
    if bool(images) == bool(folder.strip()):
        raise UserError(
            "Both a folder and images are given. Leave folder empty, or disconnect images."
            if images
            else "There are no images. Enter a folder, or connect images."
        )
    if images:
        return tensor_set(images, "images")
    found = open_set(find_entered(folder, *_ROOTS["folder"]))
    if not found.sources:
        raise UserError(f"{found.name} has no pictures, only statistics. Enter a folder.")
    return found


def _reference(text: str) -> ImageSet:
    if not text.strip():
        raise UserError("There is no reference. Enter a folder of pictures, or a .npz file.")
    try:
        return open_set(find_entered(text, *_ROOTS["reference"]))
    except UserError:
        if text.strip() != DIGITS:
            raise
        return digits_set()


def _features(name: FeaturesName, file: str) -> Features:
    device, path = comfy.model_management.get_torch_device(), None
    if name == "inception":
        path = find_entered(file, *_ROOTS["inception_file"]) if file.strip() else None
        comfy.model_management.free_memory(_INCEPTION_MEMORY, device)
    return make_features(name, path, device)


def _measured(images: ImageSet, features: Features, size: Size | None = None) -> Measured:
    bar = comfy.utils.ProgressBar(max(1, len(images)))

    def progress(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return measure(images, features, size=size, fit=size is not None, on_progress=progress)
