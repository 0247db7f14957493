"""What the store can say instead of an answer.

HisbundleError
+-- StoreUnavailable  the database cannot be reached or is locked; the same call may work later
+-- NotFound          no row has this id
"""

from model.errors import HisbundleError


class StoreUnavailable(HisbundleError):
    """The database cannot be reached, is locked, or is full; nothing was committed."""


class NotFound(HisbundleError):
    """No row has this id."""
