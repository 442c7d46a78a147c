"""Seeing what goes on: figures, metrics, the monitor."""
