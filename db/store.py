"""The store: everything that is kept, and nothing that knows SQL outside of this package.

Plain values in and out; each call is one transaction and safe from any thread. When a call
returns, what it stored survives a power failure; when it raises, nothing was stored.
"""

from db.circuits import Circuits
from db.dead_letters import DeadLetters
from db.deliveries import Deliveries
from db.episodes import Episodes
from db.exams import Exams
from db.imports import Imports
from db.keys import Keys
from db.leases import Leases
from db.locks import Locks
from db.measures import Measures
from db.messages import Messages
from db.oversight import Oversight
from db.packets import Packets
from db.replays import Replays
from db.reports import Reports
from db.results import Results
from db.retention import Retention
from db.sources import Sources
from db.streams import Streams
from db.versions import Versions


class Store(
    Messages,
    Exams,
    Packets,
    Streams,
    Episodes,
    Deliveries,
    Circuits,
    Locks,
    Reports,
    Versions,
    Oversight,
    Results,
    Sources,
    Leases,
    Replays,
    DeadLetters,
    Retention,
    Imports,
    Measures,
    Keys,
):
    """What the other packages use: `Store.open(url)`.

    Raises:
        StoreUnavailable: by every method; the same call may work later.
    """
