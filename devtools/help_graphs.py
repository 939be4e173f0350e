"""The small graphs whose pictures are in the help pages: one for each node, run before shown."""

from typing import Any

from .client import Graph
from .wires import Link, Wires


class _Wires(Wires):
    """A graph that grows, with the parts that several graphs share."""

    def show(self, samples: Link) -> None:
        """End with a contact sheet."""
        inputs = {"samples": samples, "filename_prefix": "digits", "format": "png", "scale": 8}
        self("UnconditionalImageOutput", **inputs, grid=True, columns=0, fps=8.0)

    def sample(self, kind: str, steps: int, batch_size: int = 16, **more: Any) -> Link:
        model = more.pop("model", None) or self.model()
        inputs = {"model": model, "seed": 0, "steps": steps, "batch_size": batch_size}
        return self(f"Unconditional{kind}Sampler", **inputs, **_CHOICES[kind], **more)

    def sample_in_parts(self, kind: str, steps: int) -> Link:
        model, middle = self.model(), steps * 2 // 5
        latent = self.empty(model)
        for noise, leftover, start, end in (
            ("enable", "enable", 0, middle),
            ("disable", "disable", middle, 10000),
        ):
            inputs = {"model": model, "add_noise": noise, "seed": 0, "steps": steps}
            inputs |= {**_CHOICES[kind], "latent": latent, "start_at_step": start}
            inputs |= {"end_at_step": end, "return_with_leftover_noise": leftover}
            latent = self(f"Unconditional{kind}SamplerAdvanced", **inputs, class_label=-1)
        return latent

    def custom(self, sampler: str, **choice: str) -> Link:
        """Sample with SamplerCustomAdvanced."""
        model = self.model()
        nothing = self("UnconditionalConditioning")
        timesteps = self.timesteps(model, 20, spacing="trailing")
        return self(
            "SamplerCustomAdvanced",
            noise=self("UnconditionalNoise", seed=0),
            guider=self("BasicGuider", model=model, conditioning=nothing),
            sampler=self(sampler, **choice),
            sigmas=timesteps,
            latent_image=self.empty(model),
        )

    def native(self) -> Link:
        """Sample with KSampler."""
        model = self.model()
        nothing = self("UnconditionalConditioning")
        inputs = {"model": model, "seed": 0, "steps": 20, "cfg": 1.0, "sampler_name": "euler"}
        inputs |= {"scheduler": "simple", "positive": nothing, "negative": nothing}
        return self("KSampler", **inputs, latent_image=self.empty(model), denoise=1.0)

    def empty(self, model: Link) -> Link:
        return self("UnconditionalEmptyLatent", model=model, width=0, height=0, batch_size=16)


_CHOICES: dict[str, dict[str, Any]] = {
    "PNDM": {"method": "F-PNDM", "convention": "diffusers"},
    "DDPM": {"variance_type": "model"},
    "DDIM": {"eta": 0.0},
}


def help_graph(node: str) -> Graph | None:
    """Return the graph that shows a node, or None."""
    w = _Wires()
    kind = node.removeprefix("Unconditional")
    match kind:
        case "UNetLoader" | "PNDMSampler" | "ImageOutput":
            w.show(w.sample("PNDM", 50))
        case "DDPMSampler":
            w.show(w.sample("DDPM", 250))
        case "DDIMSampler":
            w.show(w.sample("DDIM", 50))
        case "ConsistencySampler":
            repo_id = "openai/diffusers-cd_imagenet64_l2"
            load = w("UnconditionalUNetDownload", repo_id=repo_id, revision="main", variant="")
            inputs = {"seed": 0, "steps": 1, "batch_size": 16, "timesteps": "22, 0"}
            w.show(w(node, model=load, **inputs, class_label=145))
        case "UNetSave":
            w(node, model=w.model(), filename_prefix="my-digits")
        case "UNetDownload":
            model = w(node, repo_id="google/ddpm-cifar10-32", revision="main", variant="")
            w.sample("PNDM", 50, model=model)
        case "PNDMSamplerAdvanced" | "DDPMSamplerAdvanced" | "DDIMSamplerAdvanced":
            w.show(w.sample_in_parts(kind[:4], 250 if kind[:4] == "DDPM" else 50))
        case "PNDMSamplerSelect" | "Noise":
            w.show(w.custom("UnconditionalPNDMSamplerSelect", method="F-PNDM"))
        case "DDPMSamplerSelect":
            w.show(w.custom(node, variance_type="model"))
        case "Timesteps":
            model = w.model()
            sigmas = w.timesteps(model, 20, spacing="trailing")
            w("UnconditionalShowSchedule", model=model, steps=50, sigmas=sigmas)
        case "NoiseSchedule":
            model = w.model(beta_schedule="squaredcos_cap_v2")
            w("UnconditionalShowSchedule", model=model, steps=50)
        case "ShowSchedule":
            w(node, model=w.model(), steps=50)
        case "EmptyLatent" | "Conditioning":
            w.show(w.native())
        case "ImageToLatent":
            model = w.model()
            inputs = {"filename_prefix": "digit", "format": "png", "scale": 8}
            one = w.sample("PNDM", 50, batch_size=1, model=model)
            image = w("UnconditionalImageOutput", samples=one, **inputs)
            latent = w(node, image=image, model=model, fit="crop")
            again = w("RepeatLatentBatch", samples=latent, amount=16)
            w.show(w.sample("PNDM", 50, model=model, latent=again, denoise=0.6))
        case "Trajectory":
            inputs = {"seed": 0, "steps": 50, "batch_size": 4, "sampler": "F-PNDM"}
            frames = w(node, model=w.model(), **inputs, show="x0", every=8)
            w.show([frames[0], 1])
        case _:
            return None
    return w.graph
