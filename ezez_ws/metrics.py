"""The figures of servers for Prometheus; needs the extra ``ezez-ws[metrics]``."""

from .operating.metrics import Collector

__all__ = ["Collector"]
