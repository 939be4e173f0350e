"""Classifiers of images, to steer what a model draws: networks, files, and reading them."""
