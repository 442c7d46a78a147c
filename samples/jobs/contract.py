"""What the three programs of the job queue agree on: see server.py, worker.py and submit.py."""

from abc import abstractmethod
from typing import Annotated

from pydantic import Field

from ezez_ws import Contract, notice

MOST = 10_000_000
Limit = Annotated[int, Field(ge=2, le=MOST)]
PATIENCE = 3600  # seconds that an answer is waited for: a job may take long, and others may be before it


class Jobs(Contract):
    """What the server does, for scripts and for workers."""

    @abstractmethod
    def count_primes(self, limit: Limit) -> int:
        """Have a worker count the primes below a number. Many may be asked for at once."""

    @notice
    @abstractmethod
    def enlist(self, name: str) -> None:
        """A worker is ready, and goes by this name."""


class Worker(Contract):
    """What a worker does for the server, one job at a time."""

    @abstractmethod
    def count_primes(self, limit: Limit) -> int:
        """Count the primes below a number, which another worker may have begun with."""
