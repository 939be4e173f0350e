"""The small graphs shown in the help pages: one for each node, executed before the screenshot."""

from typing import Any

from .client import Graph
from .wires import Link, Wires


class _Wires(Wires):
    """A graph that grows, with the parts that several graphs share."""

    def show(self, samples: Link, **more: Any) -> None:
        """End with a contact sheet."""
        inputs = {"samples": samples, "filename_prefix": "digits", "format": "png", "scale": 8}
        more = {"grid": True, "columns": 0, "fps": 8.0, **more}
        self("UnconditionalImageOutput", **inputs, **more)

    def pndm(self, model: Link, steps: int = 50, batch_size: int = 16, **more: Any) -> Link:
        inputs = {"seed": 0, "steps": steps, "batch_size": batch_size, "method": "F-PNDM"}
        return self(
            "UnconditionalPNDMSampler", model=model, **inputs, convention="diffusers", **more
        )

    def custom(self, sampler: str, **choice: str) -> None:
        """Sample with SamplerCustomAdvanced."""
        model = self.model()
        nothing = self("UnconditionalConditioning")
        timesteps = self.timesteps(model, 20, spacing="trailing")
        latent = self(
            "SamplerCustomAdvanced",
            noise=self("UnconditionalNoise", seed=0),
            guider=self("BasicGuider", model=model, conditioning=nothing),
            sampler=self(sampler, **choice),
            sigmas=timesteps,
            latent_image=self.empty(model),
        )
        self.show(latent)

    def empty(self, model: Link) -> Link:
        return self("UnconditionalEmptyLatent", model=model, width=0, height=0, batch_size=16)

    def native(self) -> None:
        """Sample with KSampler."""
        model = self.model()
        nothing = self("UnconditionalConditioning")
        self.show(
            self(
                "KSampler",
                model=model,
                seed=0,
                steps=20,
                cfg=1.0,
                sampler_name="euler",
                scheduler="simple",
                positive=nothing,
                negative=nothing,
                latent_image=self.empty(model),
                denoise=1.0,
            )
        )

    def part(self, kind: str, steps: int, **choices: Any) -> None:
        """Sample in two parts."""
        model, middle = self.model(), steps * 2 // 5
        latent = self.empty(model)
        for first in (True, False):
            latent = self(
                f"Unconditional{kind}SamplerAdvanced",
                model=model,
                add_noise="enable" if first else "disable",
                seed=0,
                steps=steps,
                **choices,
                latent=latent,
                start_at_step=0 if first else middle,
                end_at_step=middle if first else 10000,
                return_with_leftover_noise="enable" if first else "disable",
                class_label=-1,
            )
        self.show(latent)


def help_graph(node: str) -> Graph | None:
    """Return the graph that shows a node, or None."""
    w = _Wires()
    match node:
        case "UnconditionalUNetLoader" | "UnconditionalPNDMSampler" | "UnconditionalImageOutput":
            w.show(w.pndm(w.model()))
        case "UnconditionalDDPMSampler":
            inputs = {"seed": 0, "steps": 250, "batch_size": 16, "variance_type": "model"}
            w.show(w(node, model=w.model(), **inputs))
        case "UnconditionalDDIMSampler":
            w.show(w(node, model=w.model(), seed=0, steps=50, batch_size=16, eta=0.0))
        case "UnconditionalUNetSave":
            w(node, model=w.model(), filename_prefix="my-digits")
        case "UnconditionalUNetDownload":
            w.pndm(w(node, repo_id="google/ddpm-cifar10-32", revision="main", variant=""))
        case "UnconditionalPNDMSamplerAdvanced":
            w.part("PNDM", 50, method="F-PNDM", convention="diffusers")
        case "UnconditionalDDPMSamplerAdvanced":
            w.part("DDPM", 250, variance_type="model")
        case "UnconditionalDDIMSamplerAdvanced":
            w.part("DDIM", 50, eta=0.0)
        case "UnconditionalPNDMSamplerSelect":
            w.custom(node, method="F-PNDM")
        case "UnconditionalDDPMSamplerSelect":
            w.custom(node, variance_type="model")
        case "UnconditionalNoise":
            w.custom("UnconditionalPNDMSamplerSelect", method="F-PNDM")
        case "UnconditionalTimesteps":
            model = w.model()
            sigmas = w.timesteps(model, 20, spacing="trailing")
            w("UnconditionalShowSchedule", model=model, steps=50, sigmas=sigmas)
        case "UnconditionalNoiseSchedule":
            model = w.model(beta_schedule="squaredcos_cap_v2")
            w("UnconditionalShowSchedule", model=model, steps=50)
        case "UnconditionalShowSchedule":
            w(node, model=w.model(), steps=50)
        case "UnconditionalEmptyLatent" | "UnconditionalConditioning":
            w.native()
        case "UnconditionalImageToLatent":
            model = w.model()
            one = w.pndm(model, batch_size=1)
            image = w(
                "UnconditionalImageOutput",
                samples=one,
                filename_prefix="digit",
                format="png",
                scale=8,
            )
            latent = w(node, image=image, model=model, fit="crop")
            again = w("RepeatLatentBatch", samples=latent, amount=16)
            w.show(w.pndm(model, latent=again, denoise=0.6))
        case "UnconditionalTrajectory":
            trajectory = w(
                node,
                model=w.model(),
                seed=0,
                steps=50,
                batch_size=4,
                sampler="F-PNDM",
                show="x0",
                every=8,
            )
            w.show([trajectory[0], 1])
        case _:
            return None
    return w.graph
