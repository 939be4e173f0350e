"""From a MODEL and a score to a MODEL that draws images with a higher score."""

from typing import Any, get_args

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..checkpoints.files import fingerprint
from ..host.clip_score import TextScore
from ..host.folders import classifier_names, classifier_path
from ..host.steering import Through, class_score, steer
from ..schedulers.errors import UserError, check_choice
from .inputs import CATEGORY, model_input

_NONE = "none"


class UnconditionalSteer(io.ComfyNode):
    """Steer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalSteer",
            display_name="Steer",
            category=CATEGORY,
            description="Makes a model draw a class that a classifier knows (a 7), or what a text "
            "describes, through CLIP and CLIP Vision. Works in every sampler, without "
            "training the model.",
            search_aliases=[
                *("classifier guidance", "clip guidance", "disco diffusion", "guidance", "prompt"),
            ],
            inputs=[
                model_input(),
                io.Combo.Input(
                    "classifier",
                    options=[_NONE, *classifier_names()],
                    tooltip="Recognises the class: a bundled classifier (digits-16), or a file in "
                    "ComfyUI/models/classifiers, from 'training classifier' or OpenAI. "
                    "none: the text steers. Press R after adding a file.",
                ),
                io.Int.Input(
                    "class_number",
                    default=0,
                    min=0,
                    max=2**31 - 1,
                    tooltip="The class to draw, counted from 0. In digits-16 it is the digit.",
                ),
                io.Float.Input(
                    "weight",
                    default=5.0,
                    min=0.0,
                    max=1000.0,
                    step=0.1,
                    tooltip="How strongly to steer. 1 is the classifier guidance of the paper; 0 "
                    "changes nothing. If it has too little effect, raise it; if the images "
                    "look overdone, lower it.",
                ),
                io.Combo.Input(
                    "through",
                    options=list(get_args(Through)),
                    tooltip="image: the predicted image is moved directly. network: the gradient "
                    "goes back through the model too, which takes about four times as long "
                    "and much more memory, and stays closer to what the model can draw; use "
                    "a lower weight. It has no effect for a classifier that sees noise "
                    "(OpenAI's).",
                    advanced=True,
                ),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="The part of the noise schedule after which steering starts. 0: at "
                    "once.",
                    advanced=True,
                ),
                io.Float.Input(
                    "until",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="The part of the noise schedule, from its start, after which steering "
                    "ends. 1: at the end. Lower values let the model finish the image.",
                    advanced=True,
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Reads the text. It must be the CLIP that clip_vision belongs to, with "
                    "its text projection.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="Sees the images: CLIP's ViT-L, ViT-H or ViT-bigG.",
                ),
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="What to draw, for clip and clip_vision. It is not used with a "
                    "classifier.",
                ),
                io.Int.Input(
                    "cutouts",
                    default=16,
                    min=1,
                    max=256,
                    optional=True,
                    tooltip="How many random parts of each image CLIP Vision sees in each step. "
                    "More give cleaner images and take longer.",
                    advanced=True,
                ),
            ],
            outputs=[io.Model.Output(tooltip="The steered model, for any sampler.")],
        )

    @classmethod
    def fingerprint_inputs(cls, classifier: str | None = None, **_: Any) -> str:
        return "" if classifier in (None, _NONE) else fingerprint(classifier_path(classifier))

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        classifier: str,
        class_number: int,
        through: Any,
        clip: Any = None,
        clip_vision: Any = None,
        text: str = "",
        cutouts: int = 16,
        **how: Any,
    ) -> io.NodeOutput:
        check_choice("through", through, get_args(Through))
        file = None if classifier == _NONE else classifier_path(classifier)
        _check_one_score(file is not None, clip, clip_vision, text)
        if file is None:
            score = TextScore(clip, clip_vision, text, cutouts)
        else:
            score = class_score(file, classifier, class_number, model)
        return io.NodeOutput(steer(model, score, through=through, **how))


def _check_one_score(has_classifier: bool, clip: Any, clip_vision: Any, text: str) -> None:
    """Raise ``UserError`` unless there is either a classifier or everything that a text needs."""
    parts = {"clip": clip is not None, "clip_vision": clip_vision is not None}
    if has_classifier and any(parts.values()):
        connected = " and ".join(name for name, given in parts.items() if given)
        raise UserError(
            f"A classifier is chosen, and {connected} connected too. Set classifier to 'none' to "
            "steer by the text, or remove the connection. For both, use two Steer nodes."
        )
    parts["text"] = bool(text.strip())
    if not has_classifier and not all(parts.values()):
        missing = ", ".join(name for name, given in parts.items() if not given)
        raise UserError(
            "Choose a classifier, or connect clip and clip_vision and enter a text. Missing for a "
            f"text: {missing}."
        )
