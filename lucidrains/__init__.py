"""The network of lucidrains/denoising-diffusion-pytorch, in all its versions since 0.28."""
