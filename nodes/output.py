"""From a LATENT to an IMAGE and files."""

from typing import Any

from comfy_api.latest import io

from ..host.images import latent_to_image, to_rgb
from ..host.provenance import find_records
from ..host.saving import GraphMetadata, save_array, save_pictures
from ..schedulers.errors import check_choice

_FORMATS = ("png", "webp", "npy")


class UnconditionalImageOutput(io.ComfyNode):
    """Image Output."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalImageOutput",
            display_name="Image Output",
            category="unconditional",
            description="Turns the samplers' pixels into an IMAGE, saves them in ComfyUI's output "
            "folder and shows them. A saved picture dragged into the editor gives its graph back.",
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                io.Latent.Input("samples", tooltip="From a sampler of this pack."),
                io.String.Input(
                    "filename_prefix",
                    default="unconditional",
                    tooltip="Name of the files, and of a folder before a slash. ComfyUI's "
                    "variables such as %year% work.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(_FORMATS),
                    tooltip="png and webp (both lossless) hold 8 bits and the workflow. npy holds "
                    "all images as one float32 array in 0..1, shape (batch, height, width, "
                    "channels).",
                ),
                io.Int.Input(
                    "scale",
                    default=1,
                    min=1,
                    max=16,
                    tooltip="Enlarges the saved and shown pictures by whole pixels, so that small "
                    "ones can be seen. IMAGE and npy keep their size.",
                ),
            ],
            outputs=[io.Image.Output(tooltip="RGB, at the model's size.")],
        )

    @classmethod
    def execute(
        cls, samples: dict[str, Any], filename_prefix: str, format: str, scale: int
    ) -> io.NodeOutput:
        check_choice("format", format, _FORMATS)
        if not 1 <= scale <= 16:
            raise ValueError(f"scale must be from 1 to 16, not {scale}.")
        if samples["samples"].ndim != 4:
            raise ValueError(
                "Image Output needs still images (batch, channels, height, width), not "
                f"{tuple(samples['samples'].shape)}."
            )
        images = latent_to_image(samples["samples"])
        if format == "npy":
            shown = save_array(images, filename_prefix, scale=scale)
        else:
            shown = save_pictures(
                images,
                filename_prefix,
                format,
                scale=scale,
                graph=GraphMetadata(cls.hidden.prompt, cls.hidden.extra_pnginfo),
                records=find_records(samples),
            )
        return io.NodeOutput(to_rgb(images), ui={"images": shown})
