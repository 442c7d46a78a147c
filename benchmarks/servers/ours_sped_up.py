"""This library with its extra ``speedups``."""

from .ours import start_installed as start

__all__ = ["start"]
