"""What ``stats()`` and ``cluster`` say of servers, as Prometheus reads it; needs prometheus-client.

A scrape asks for the figures, and nothing is kept in between. The tables below are all that is exported: the name
behind ``ezez_ws_``, the type, the field, what it is. A field that counts by something has a label for that, named last.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
except ImportError as error:
    raise ImportError('ezez_ws.metrics needs prometheus-client: pip install "ezez-ws[metrics]"') from error

from ..server import EZEZWebsocketServer

__all__ = ["Collector"]


class _Row(NamedTuple):
    name: str
    family: Any
    field: str
    help: str
    label: str = ""

    def make(self) -> Any:
        """Return the family of these series, without any."""
        labels = ["server", self.label] if self.label else ["server"]
        return self.family(f"ezez_ws_{self.name}", self.help, labels=labels)


_COUNTER, _GAUGE, _HISTOGRAM = CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

# The text formats add _total to counters. A counter and a gauge of one name, but for that, would be one in OpenMetrics.
_FIGURES = (
    _Row("connections", _GAUGE, "connections", "Connections now, the unauthenticated included."),
    _Row("connections_unauthenticated", _GAUGE, "unauthenticated", "Connections that have not authenticated yet."),
    _Row("connections_opened", _COUNTER, "connections_total", "Connections that were accepted."),
    _Row("handshakes_refused", _COUNTER, "handshakes_refused", "Handshakes refused, by HTTP status.", "status"),
    _Row("authentications", _COUNTER, "authentications", "Authentications, by outcome.", "outcome"),
    _Row("messages_received", _COUNTER, "messages_received", "Messages of the program received."),
    _Row("messages_sent", _COUNTER, "messages_sent", "Messages of the program sent."),
    _Row("received_bytes", _COUNTER, "bytes_received", "Payloads of the messages received."),
    _Row("sent_bytes", _COUNTER, "bytes_sent", "Payloads of the messages sent."),
    _Row("replies_awaited", _GAUGE, "replies_awaited", "Replies that are awaited now."),
    _Row("replies_timed_out", _COUNTER, "replies_timed_out", "Waits for a reply that timed out."),
    _Row("replies_expired", _COUNTER, "replies_expired", "Messages whose reply is not awaited any more."),
    _Row("broadcasts", _COUNTER, "broadcasts", "Broadcasts."),
    _Row("clients_cut", _COUNTER, "clients_cut", "Clients that were cut, by reason.", "reason"),
    _Row("listener_seconds", _HISTOGRAM, "listener_seconds", "How long the listeners of each event ran."),
    _Row("waiting_seconds", _HISTOGRAM, "waiting_seconds", "How long each event waited for its listeners."),
    _Row("send_buffer_bytes", _GAUGE, "send_buffer_bytes", "Bytes that clients have not taken yet."),
    _Row("inbox_bytes", _GAUGE, "inbox_bytes", "Bytes that were read and are not handled yet."),
)

_CLUSTER = (
    _Row("cluster_connected", _GAUGE, "connected", "Whether the backplane can be read and written: 1 or 0."),
    _Row("cluster_lag_seconds", _GAUGE, "lag", "Seconds between the newest publication and the one read last."),
    _Row("cluster_nodes", _GAUGE, "nodes", "Nodes that this one knows of, itself included."),
    _Row("cluster_published", _COUNTER, "published", "Publications of this node."),
    _Row("cluster_confirmed", _COUNTER, "confirmed", "Publications of this node that the backplane has."),
    _Row("cluster_delivered", _COUNTER, "delivered", "Events given to clients of this node."),
    _Row("cluster_queued_bytes", _GAUGE, "queued_bytes", "Publications that wait for the backplane."),
    _Row("cluster_repeats", _COUNTER, "repeats", "Publications that came twice, and were dropped."),
    _Row("cluster_gaps", _COUNTER, "gaps", "Losses that this node has noticed."),
    _Row("cluster_epochs", _COUNTER, "epochs", "New logs that this node has met."),
    _Row("cluster_reconnects", _COUNTER, "reconnects", "Connections to the backplane that were made anew."),
    _Row("cluster_foreign", _COUNTER, "foreign", "Entries that this version cannot read."),
    _Row("cluster_window_entries", _GAUGE, "window_entries", "Publications kept for clients that come back."),
    _Row("cluster_window_bytes", _GAUGE, "window_bytes", "Their size."),
    _Row("cluster_window_seconds", _GAUGE, "window_seconds", "How far back they reach."),
    _Row("cluster_recovered", _COUNTER, "recovered", "Clients that got what they had missed."),
    _Row("cluster_replayed", _COUNTER, "replayed", "Events that those got."),
    _Row("cluster_missed", _COUNTER, "missed", "Clients for which what they had missed was gone."),
)

_OUTCOMES = dict.fromkeys(("ok", "rejected", "late"), 0)  # a series that begins at 0 shows its first increase, too


class Collector:
    """Gives the figures of servers to Prometheus, one for a registry: ``REGISTRY.register(Collector(server))``.

    Each series has a label ``server``: the server's port, or its place in the call, from 1, where it has none or shares
    it with another of them. No label names a client, an event or a room, so that clients cannot make series. Those of
    the cluster are there for servers with a ``backplane``, while they run. A server may be started, closed and started
    again at any time; until the collector is unregistered it keeps a reference to each. Any thread may collect.

    Raises:
        TypeError: there is no server, or something else.
        ValueError: a server is given twice.
    """

    def __init__(self, *servers: EZEZWebsocketServer[Any]) -> None:
        if not servers:
            raise TypeError("Collector() needs a server")
        for place, server in enumerate(servers, 1):
            if not isinstance(server, EZEZWebsocketServer):
                raise TypeError(f"server {place} of Collector() is no EZEZWebsocketServer, but {server!r:.200}")
            if server in servers[: place - 1]:
                raise ValueError(f"server {place} of Collector() is there twice")
        self._servers = servers

    def describe(self) -> Iterable[Metric]:
        """Return all families, without series: the registry asks once, to find two of one name."""
        return [row.make() for row in (*_FIGURES, *_CLUSTER)]

    def collect(self) -> Iterator[Metric]:
        """Return the figures of now; for the registry."""
        families = {row: row.make() for row in (*_FIGURES, *_CLUSTER)}
        for label, server in zip(self._labels(), self._servers, strict=True):
            figures = server.stats()._asdict()
            figures["authentications"] = _OUTCOMES | figures["authentications"]
            _add(families, _FIGURES, label, figures)
            run = server._ezez_current_run()
            if run is not None and run.hub.has_backplane:
                status = run.hub.status()
                _add(families, _CLUSTER, label, status._asdict() | {"nodes": len(status.nodes)})
        return (family for family in families.values() if family.samples)

    def _labels(self) -> Iterator[str]:
        ports = [server.port for server in self._servers]
        for place, port in enumerate(ports, 1):
            yield str(port if port and ports.count(port) == 1 else place)


def _add(families: dict[_Row, Any], rows: Iterable[_Row], label: str, values: dict[str, Any]) -> None:
    for row in rows:
        family, value = families[row], values[row.field]
        if row.label:
            for by, count in value.items():
                family.add_metric([label, by], count)
        elif row.family is _HISTOGRAM:
            buckets = [("+Inf" if bound == math.inf else str(bound), count) for bound, count in value.buckets.items()]
            family.add_metric([label], buckets, value.sum)
        elif value is not None:  # the lag, where it is not known
            family.add_metric([label], value)
