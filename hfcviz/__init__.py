"""See, measure and reproduce how adversarial medical images hide in a network's features."""

__version__ = "0.1.0"
