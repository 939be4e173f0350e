"""Quality by evaluations: the claims of the PNDM paper, measured with our own model."""
