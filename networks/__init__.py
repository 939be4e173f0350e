"""What every network offers and needs, so that nothing else asks which one a model has."""
