"""From a folder of pictures to a MODEL."""

import logging
from pathlib import Path
from typing import Any, get_args

import comfy.model_management
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..host.folders import model_files
from ..host.our_model import own_schedule, unconditional_model, weights_as_loaded
from ..host.picture_folders import listing
from ..host.run_report import REPORTS
from ..host.training import HostTraining
from ..host.training_page import Reporter, serve
from ..schedulers.errors import UserError
from ..training.network import NetworkSize, size_multiple
from ..training.network_in_training import training_size
from ..training.options import Precision, TrainingOptions
from ..training.picture_set import Crop, PictureSet
from ..training.pictures import (
    Colour,
    entered_folder,
    from_images,
    named_colour,
    read_folder,
    survey_folder,
)
from ..training.plan import Plan, SmallData, Start, new_unet
from ..training.precision import AutoPrecision, resolve_precision
from ..unet.config import UNetConfig
from .inputs import CATEGORY
from .load import load_model

logger = logging.getLogger(__name__)

_TRANSPARENT = "transparent"


class UnconditionalTrain(io.ComfyNode):
    """Train Unconditional UNet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalTrain",
            display_name="Train Unconditional UNet",
            category=CATEGORY,
            description="Trains a model on your own pictures: a few hundred, thousands, or "
            "parts of a single one. Cancel saves the run, and Run continues it. The model is in "
            "output/diffusers.",
            search_aliases=[
                "ddpm",
                "fine-tune",
                "train_unconditional",
                "training",
                "unconditional",
            ],
            is_output_node=True,
            is_input_list=True,
            inputs=[*_inputs()],
            outputs=[
                io.Model.Output(tooltip="The trained model, with averaged weights."),
                io.Custom("LOSS_MAP").Output(
                    display_name="loss_map", tooltip="The loss of each step, for Plot Loss Graph."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            **REPORTS,
        )

    @classmethod
    def fingerprint_inputs(cls, folder: list[str] | None = None, **_: Any) -> Any:
        """Return another value if the pictures in the folder have changed."""
        text = folder[0] if folder else None
        if not text or not text.strip():
            return ""
        return sorted(listing(_resolved(text)))

    @classmethod
    def execute(cls, **given: Any) -> io.NodeOutput:
        images: list[Tensor] = given.pop("images", None) or []
        values = {name: value[0] for name, value in given.items()}
        reporter = Reporter(str(cls.hidden.unique_id))
        # The host runs nodes in inference mode, where nothing can be trained.
        with reporter.shown(), torch.inference_mode(False), torch.enable_grad():
            plan = _plan(values, images, values.get("model"), reporter)
            training = HostTraining(plan, values["name"], values["preview_every"], reporter)
            losses = training.train()
        model = load_model(training.name, model_files(training.name))
        return io.NodeOutput(model, {"loss": losses}, ui=reporter.ui())


def _inputs() -> list[Any]:
    return [
        io.String.Input(
            "folder",
            default="",
            tooltip="The folder with your pictures, including its subfolders: a full path, or one "
            "relative to ComfyUI/input. Damaged files are skipped. Leave empty if images is "
            "connected.",
        ),
        io.String.Input(
            "name",
            default="my-model",
            tooltip="The model's folder in output/diffusers. Run with the same settings continues "
            "there; other settings start a new run under the next free name.",
        ),
        io.Int.Input(
            "size",
            default=0,
            min=0,
            max=1024,
            tooltip="The size to train at, in pixels. 0 uses the model's size, or else the "
            "pictures' size, at most 64. Time and memory grow with its square.",
        ),
        io.Combo.Input(
            "crop",
            options=list(get_args(Crop)),
            tooltip="centre: whole pictures, resized and cropped to their centre. random: parts "
            "of pictures at their own resolution, for textures and for a single picture; the model "
            "then has no attention and draws any size.",
        ),
        io.Combo.Input(
            "network",
            options=list(get_args(NetworkSize)),
            tooltip="How large a new network is. small trains quickly, even on a CPU; large is the "
            "network of diffusers' train_unconditional.py and needs a GPU.",
        ),
        io.Int.Input(
            "steps",
            default=5000,
            min=1,
            max=10_000_000,
            tooltip="The total number of steps. Enter more to continue a finished run: 1000 and "
            "then 2000 give exactly the same model as 2000 at once.",
        ),
        io.Int.Input(
            "batch_size",
            default=16,
            min=1,
            max=4096,
            tooltip="Pictures per step. Fewer need less memory.",
        ),
        io.Float.Input(
            "learning_rate",
            default=2e-4,
            min=1e-7,
            max=1.0,
            step=1e-5,
            round=False,
            tooltip="Constant after the first 100 steps. If the loss jumps, the node goes back and "
            "halves it.",
            advanced=True,
        ),
        io.Combo.Input(
            "small_data",
            options=list(get_args(SmallData)),
            tooltip="Augmentation that does not show in the images, and dropout, so that a few "
            "pictures are not simply copied. auto: on for a new model with fewer than 5000 "
            "pictures.",
            advanced=True,
        ),
        io.Boolean.Input(
            "flip",
            default=False,
            tooltip="Mirrors half of the pictures. Not for text or faces with a parting.",
        ),
        io.Boolean.Input(
            "rotate",
            default=False,
            tooltip="Rotates square pictures by quarter turns: for textures, skies, cells.",
        ),
        io.String.Input(
            "background",
            default="white",
            tooltip="The colour behind transparent pixels: a name, or #rrggbb. transparent trains "
            "on RGBA, for sprites.",
            advanced=True,
        ),
        io.Combo.Input(
            "precision",
            options=list(get_args(AutoPrecision)),
            tooltip="auto uses the faster one on this device. bfloat16 also needs less memory.",
            advanced=True,
        ),
        io.Int.Input(
            "preview_every",
            default=250,
            min=0,
            max=1_000_000,
            tooltip="Steps between the pictures that the node shows. 0 shows none.",
            advanced=True,
        ),
        io.Int.Input(
            "save_every",
            default=500,
            min=1,
            max=1_000_000,
            tooltip="Steps between saves. Cancel saves too; if the machine is switched off, at "
            "most this many steps are lost.",
            advanced=True,
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**32 - 1,
            control_after_generate=False,  # another seed would be another run
            tooltip="The seed of the initial weights and of everything random in the training.",
            advanced=True,
        ),
        io.Image.Input(
            "images",
            optional=True,
            tooltip="Pictures instead of a folder: a batch, or a list from ComfyUI's dataset "
            "nodes, of any sizes.",
        ),
        io.Model.Input(
            "model",
            optional=True,
            tooltip="A model of this pack to start from, with its network, size and noise "
            "schedule: for example google/ddpm-cat-256 on forty pictures of one cat.",
        ),
    ]


def planned(values: dict[str, Any]) -> dict[str, Any]:
    """Return what the node would train, which the editor shows before Run.

    Args:
        values: the values of the node's widgets; the names of linked ones are in "linked".
    """
    linked = values.get("linked", [])
    if "model" in linked or "images" in linked or "folder" in linked:
        return {}
    try:
        multiple = size_multiple(values["network"])
        size, count = survey_folder(
            _resolved(values["folder"]),
            size=values["size"] or None,
            crop=values["crop"],
            multiple=multiple,
        )
        options = TrainingOptions(
            batch_size=values["batch_size"], precision=_precision(values["precision"])
        )
        unet = new_unet(size, 3, values["network"], values["crop"])
        shape = (values["batch_size"], unet.in_channels, *size)
        parameters, memory = training_size(unet, shape, options)
    except (KeyError, TypeError):  # linked, or of another version
        return {}
    except (ValueError, OSError) as error:
        return {"error": str(error)}
    return {
        **{"parameters": parameters, "memory": memory, "size": size, "pictures": count},
        **{"channels": None, "notes": []},
    }


serve(planned)


def _precision(precision: AutoPrecision) -> Precision:
    return resolve_precision(precision, comfy.model_management.get_torch_device())


def _plan(
    values: dict[str, Any], images: list[Tensor], patcher: ModelPatcher | None, reporter: Reporter
) -> Plan:
    """Read the pictures, and choose what depends on them."""
    start = None if patcher is None else _start(patcher)
    pictures = _pictures(values, images, None if start is None else start.unet, reporter)
    options = TrainingOptions(
        steps=values["steps"],
        batch_size=values["batch_size"],
        learning_rate=values["learning_rate"],
        flip=values["flip"],
        rotate=values["rotate"],
        save_every=values["save_every"],
        seed=values["seed"],
        precision=_precision(values["precision"]),
    )
    plan = Plan.make(
        pictures,
        options,
        network=values["network"],
        small_data=values["small_data"],
        start=start,
    )
    report = reporter.report
    report.size, report.channels = pictures.size, pictures.channels
    report.pictures, report.notes = len(pictures), list(pictures.notes)
    for note in pictures.notes:
        logger.info(note)
    return plan


def _pictures(
    values: dict[str, Any], images: list[Tensor], unet: UNetConfig | None, reporter: Reporter
) -> PictureSet:
    if bool(images) == bool(values["folder"].strip()):
        raise UserError(
            "Both a folder and images are given. Leave folder empty, or disconnect images."
            if images
            else "There are no pictures. Enter a folder, or connect images."
        )

    def progress(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        reporter.report.step, reporter.report.steps = done, total
        if reporter.is_due:
            reporter.send()

    more: dict[str, Any] = {
        "size": values["size"] or (None if unet is None else unet.size),
        "channels": None if unet is None else unet.in_channels,
        "crop": values["crop"],
        "background": _background(values["background"]),
        "multiple": size_multiple(values["network"]) if unet is None else unet.size_multiple,
        "on_progress": progress,
    }
    if images:
        return from_images([image.clone() for image in images], **more)
    return read_folder(_resolved(values["folder"]), **more)


def _start(patcher: ModelPatcher) -> Start:
    ours = unconditional_model(patcher)
    if not isinstance(ours.unet_config, UNetConfig):
        raise UserError(
            f"The network of {ours.source.name} is not diffusers' UNet2DModel, so it cannot be "
            "trained here. Start from a UNet2DModel, or disconnect model."
        )
    weights = {name: tensor.clone() for name, tensor in weights_as_loaded(patcher).items()}
    name = f"{ours.source.name} (sha256 {str(ours.source.sha256)[:16]})"
    return Start(ours.unet_config, own_schedule(patcher), weights, name)


def _background(text: str) -> Colour | None:
    if text.strip().lower() == _TRANSPARENT:
        return None
    colour = named_colour(text.strip())
    if colour is None:
        raise UserError(
            f"The background '{text}' is not a colour. Enter a name, for example black, #rrggbb, "
            "or transparent."
        )
    return colour


def _resolved(text: str) -> Path:
    return Path(folder_paths.get_input_directory()) / entered_folder(text)
