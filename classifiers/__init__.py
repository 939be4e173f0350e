"""Classifiers of images, which steer what a model draws: networks, files, and reading them."""
