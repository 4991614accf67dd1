"""Diffusion models on diffusers' and transformers' classes; their pipelines are written here, no remote code runs."""
