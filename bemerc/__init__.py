"""bemerc: emotion recognition in conversation from cached behavior tokens."""

__version__ = "0.1.0"
