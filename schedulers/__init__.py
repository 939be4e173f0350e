"""Noise schedules, timesteps, predictions and samplers: pure tensors, without the host."""
