"""Whether a sender's ECGs are judged otherwise than they used to be: last day to four weeks."""

import math
from collections.abc import Sequence
from datetime import datetime

from prometheus_client.core import Metric

from db.measures import DRIFT_RECENT, DRIFT_USUAL, Spread
from db.store import Store
from integration.metrics.events import MAX_SENDERS, Places
from integration.metrics.families import gauge

MIN_ECGS = 200  # on either side: fewer say nothing
MIN_SHARED = 20  # of the last day: one bad ECG is no share of a few
_NOBODY = Spread((), ())


def look_for_drift(store: Store, now: datetime) -> list[Metric]:
    """Return the gauges, for the senders with the most ECGs."""
    recent = store.spreads(now - DRIFT_RECENT, now)
    usual = store.spreads(now - DRIFT_RECENT - DRIFT_USUAL, now - DRIFT_RECENT)
    many = sorted(recent, key=lambda s: -recent[s].assessed)[:MAX_SENDERS]
    compared = [
        (sender, recent[sender], usual[sender])
        for sender in many
        if min(recent[sender].assessed, usual.get(sender, _NOBODY).assessed) >= MIN_ECGS
    ]
    place = Places().of
    labels = ("site", "device")
    return [
        gauge(
            "hisbundle_unscorable_share",
            "Share of a sender's live ECGs of the last day that could not be scored, if at least "
            f"{MIN_SHARED} came",
            {
                place(s): recent[s].verdicts[-1] / recent[s].assessed
                for s in many
                if recent[s].assessed >= MIN_SHARED
            },
            labels,
        ),
        gauge(
            "hisbundle_score_drift",
            "Population stability index of a sender's anomaly scores, last day to four weeks",
            {place(s): stability(a.scores, b.scores) for s, a, b in compared},
            labels,
        ),
        gauge(
            "hisbundle_quality_drift",
            "Population stability index of a sender's quality verdicts, last day to four weeks",
            {place(s): stability(a.verdicts, b.verdicts) for s, a, b in compared},
            labels,
        ),
    ]


def stability(recent: Sequence[int], usual: Sequence[int]) -> float:
    """Return the population stability index of two counts over the same bins.

    Below 0.1 nothing has changed, above 0.25 a lot (Siddiqi, Credit Risk Scorecards, 2006). Half
    an ECG is added to each bin, so that an empty one counts, and not for ever.
    """
    a, b = sum(recent) + 0.5 * len(recent), sum(usual) + 0.5 * len(usual)
    return sum(
        ((n + 0.5) / a - (m + 0.5) / b) * math.log(((n + 0.5) / a) / ((m + 0.5) / b))
        for n, m in zip(recent, usual, strict=True)
    )
