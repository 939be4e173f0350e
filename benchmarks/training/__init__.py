"""How fast and how well this pack trains, compared with diffusers' train_unconditional.py."""
