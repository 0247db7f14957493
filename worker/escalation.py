"""Critical findings that nobody answered in time: told once more, as a version of the report."""

import logging
from datetime import datetime

from db.errors import Corrupt, NotFound, VersionConflict
from db.store import Store
from db.versions import NewVersion
from integration.fhir.revision import escalated
from integration.logs import error_once

_BATCH = 100
_log = logging.getLogger(__name__)


def escalate_once(store: Store, now: datetime) -> int:
    """Escalate what is due; return how many. Any number of workers may do so at once."""
    done = 0
    for exam_id in store.unanswered_alerts(now, _BATCH):
        try:
            newest = store.read_report(exam_id)
            bundle = escalated(newest, now)
            new = NewVersion(newest.status, now, bundle, "worker", escalates=True)
            store.add_version(exam_id, new, expected=newest.version)
        except (VersionConflict, NotFound):
            continue  # answered, or escalated by another worker, just now
        except Corrupt as error:
            words = "critical finding not told again id=%s reason=%s"
            error_once(_log, words, exam_id, error.reason)
            continue
        done += 1
        _log.warning("critical finding not answered id=%s", exam_id)
    return done
