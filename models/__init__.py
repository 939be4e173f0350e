"""The bundled models, in diffusers' own layout, and how they were trained."""
