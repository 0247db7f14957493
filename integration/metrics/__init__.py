"""Measures for Prometheus: what comes in, what waits, how long things take, what drifts.

Three kinds of numbers stand on the page, and each says in its help which it is:

- what this process itself did (`exposition`): counters since its start; add them up over listeners.
- what is so in the database now (`stored`): gauges, the same whichever listener is asked.
- what workers did (`events`, `drift`): read from the audit log, which workers write in the same
  transaction as what they did. So a worker needs no port of its own, nothing is counted twice or
  forgotten when one is killed, and every listener counts all of it: take the maximum over them.

Labels are states, reasons, destinations and senders (MSH-3 as device, MSH-4 as site), never a
patient. A new measure of a listener: `Gauge(..., registry=metrics.registry)`; of the database: a
method of `db.measures` and a line in `stored`.
"""

from integration.metrics.exposition import CONTENT_TYPE, Metrics

__all__ = ["CONTENT_TYPE", "Metrics"]
