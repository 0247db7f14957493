"""What the store can say instead of an answer.

HisbundleError
+-- StoreUnavailable  the database cannot be reached or is locked; the same call may work later
+-- StoreUnusable     somebody has to act first: migrate, or mend the settings
+-- NotFound          no row has this id
+-- Corrupt           a stored value does not decode
+-- VersionConflict   somebody else was first: look again, then decide
"""

from model.errors import HisbundleError


class StoreUnavailable(HisbundleError):
    """The database cannot be reached, is locked, or is full.

    Nothing was committed, unless the connection broke during the commit itself; every call may be
    repeated without harm.
    """


class StoreUnusable(HisbundleError):
    """The schema is not this version's, or the URL names no supported database."""


class NotFound(HisbundleError):
    """No row has this id."""


class VersionConflict(HisbundleError):
    """A report has got another version since the caller looked at it."""


class Corrupt(HisbundleError):
    """A stored value does not decode: the medium or another program changed it."""
