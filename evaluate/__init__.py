"""How near drawn pictures are to those of a reference: distances between sets, and copies."""
