"""Cutting bytes into pieces as a network might, by one number, so that an input stands for its pieces too."""

import random

__all__ = ["cut_up"]


def cut_up(data: bytes, seed: int) -> list[bytes]:
    """Return ``data`` in pieces: for 0 single bytes, else of random sizes, empty ones never."""
    if seed == 0:
        return [data[place : place + 1] for place in range(len(data))]
    chance = random.Random(seed)
    largest = 1 + seed % 32
    pieces = []
    start = 0
    while start < len(data):
        size = chance.randint(1, largest)
        pieces.append(data[start : start + size])
        start += size
    return pieces
