"""From a LATENT to an IMAGE and files."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..host.output_files import check_prefix
from ..host.saving import save_animations, save_array, save_pictures
from ..pictures.animation import FASTEST, SLOWEST, check_fps, frame_durations
from ..pictures.arrangement import arrange_films, arrange_sheet
from ..pictures.images import latent_to_image, to_rgb
from ..pictures.metadata import GraphMetadata
from ..pictures.provenance import find_frames, find_records
from ..schedulers.errors import check_choice

_ANIMATED = "animated webp"
_FORMATS = ("png", "webp", "npy", _ANIMATED)
_MAX_SCALE, _MAX_COLUMNS = 16, 1000


class UnconditionalImageOutput(io.ComfyNode):
    """Image Output."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalImageOutput",
            display_name="Image Output",
            category="unconditional",
            description="Converts a sampler's pixels to an IMAGE, saves them to ComfyUI's output "
            "folder and shows them. Drag a saved picture into the editor to get its workflow back.",
            search_aliases=[
                "animated webp",
                "contact sheet",
                "npy",
                "pixel diffusion",
                "save image",
                "vae decode",
            ],
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                io.Latent.Input("samples", tooltip="The images from a sampler."),
                io.String.Input(
                    "filename_prefix",
                    default="unconditional",
                    tooltip="The name of the files. A folder may come before a slash. ComfyUI's "
                    "variables, for example %year%, work.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(_FORMATS),
                    tooltip="png and webp (both lossless) store 8 bits and the workflow. npy "
                    "stores all images as one float32 array in 0..1, shape (batch, height, width, "
                    "channels). animated webp plays the batch as one file; a trajectory gives one "
                    "file per image.",
                ),
                io.Int.Input(
                    "scale",
                    default=1,
                    min=1,
                    max=_MAX_SCALE,
                    tooltip="Enlarges the saved and displayed pictures by whole pixels, to make "
                    "small ones visible. IMAGE and npy keep their size.",
                ),
                io.Boolean.Input(
                    "grid",
                    default=False,
                    optional=True,
                    tooltip="Saves the batch as one contact sheet instead of one file per image. "
                    "With animated webp, the images of a trajectory play side by side in one file; "
                    "it has no effect on other batches or on npy.",
                ),
                io.Int.Input(
                    "columns",
                    default=0,
                    min=0,
                    max=_MAX_COLUMNS,
                    optional=True,
                    tooltip="Pictures per row of the grid. 0 makes it as square as possible; a "
                    "trajectory gets one row per image.",
                    advanced=True,
                ),
                io.Float.Input(
                    "fps",
                    default=8.0,
                    min=SLOWEST,
                    max=FASTEST,
                    step=0.1,
                    optional=True,
                    tooltip="Frames per second of animated webp. The last frame of a trajectory "
                    "stays for 1.5 seconds.",
                    advanced=True,
                ),
            ],
            outputs=[io.Image.Output(tooltip="The images as RGB, at their own size.")],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None) -> bool | str:
        # Checked before the sampler runs. None: the value comes from another node.
        try:
            check_prefix(filename_prefix or "")
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        samples: dict[str, Any],
        filename_prefix: str,
        format: str,
        scale: int,
        grid: bool = False,
        columns: int = 0,
        fps: float = 8.0,
    ) -> io.NodeOutput:
        _check(samples["samples"], format, scale, columns, fps)
        images = latent_to_image(samples["samples"])
        records, frames = find_records(samples), find_frames(samples)
        graph = GraphMetadata(cls.hidden.prompt, cls.hidden.extra_pnginfo)
        how: Any = {"prefix": filename_prefix, "scale": scale, "graph": graph}
        if format == "npy":
            ui = {"images": save_array(images, filename_prefix, scale=scale)}
        elif format == _ANIMATED:
            films, records = arrange_films(
                images, records, frames=frames, grid=grid, columns=columns
            )
            durations = frame_durations(films.shape[1], fps, hold_last=frames > 1)
            saved = save_animations(films, durations=durations, records=records, **how)
            ui = {"images": saved, "animated": (True,)}
        else:
            pictures = images
            if grid:
                pictures, records = arrange_sheet(images, records, frames=frames, columns=columns)
            ui = {"images": save_pictures(pictures, file_format=format, records=records, **how)}
        return io.NodeOutput(to_rgb(images), ui=ui)


def _check(samples: Tensor, file_format: str, scale: int, columns: int, fps: float) -> None:
    """Raise ValueError for values beyond the widgets' limits (some hosts allow them) and video."""
    check_choice("format", file_format, _FORMATS)
    if not 1 <= scale <= _MAX_SCALE:
        raise ValueError(f"scale must be from 1 to {_MAX_SCALE}, not {scale}.")
    if not 0 <= columns <= _MAX_COLUMNS:
        raise ValueError(
            f"columns must be from 1 to {_MAX_COLUMNS}, or 0 for automatic, not {columns}."
        )
    check_fps(fps)
    if samples.ndim != 4:
        raise ValueError(
            "Image Output needs still images (batch, channels, height, width), not "
            f"{tuple(samples.shape)}."
        )
