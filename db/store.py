"""The store: everything that is kept, and nothing that knows SQL outside of this package.

Plain values in and out; each call is one transaction and safe from any thread. When a call
returns, what it stored survives a power failure; when it raises, nothing was stored.
"""

from db.deliveries import Deliveries
from db.exams import Exams
from db.packets import Packets
from db.reports import Reports
from db.results import Results


class Store(Exams, Packets, Deliveries, Reports, Results):
    """What the other packages use: `Store.open(url)`.

    Raises:
        StoreUnavailable: by every method; the same call may work later.
    """
