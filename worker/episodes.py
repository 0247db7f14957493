"""What is new of an episode since the report on its beginning: a version of it says so.

Any number of workers may tell at once, and be killed over it: a version follows the one that it was
made from, or is not stored; and what is stored, alert and version together, is not told again.
"""

import logging
from datetime import datetime

from db.errors import Corrupt, NotFound, VersionConflict
from db.reviews import ReportStatus
from db.store import Store
from db.streaming import Episode
from db.versions import NewVersion
from integration.critical import CriticalSettings
from integration.fhir.acknowledging import alerts_of
from integration.fhir.codes import RHYTHM_FINDING
from integration.fhir.report import build_report
from integration.fhir.revision import following
from integration.fhir.strip import tells_end
from integration.logs import error_once

_log = logging.getLogger(__name__)


def tell_episodes(store: Store, critical: CriticalSettings, now: datetime, limit: int = 50) -> int:
    """Let reports say, once each, that their episode is critical, and that it ended.

    It takes no samples of the onset, which may be gone or damaged. A report that a clinician has
    decided on stays as it is; so does one that does not decode, and it keeps no other waiting.

    Returns:
        How many versions it took.
    """
    told = 0
    for episode in (*store.unalerted_episodes(limit), *store.untold_ends(limit)):
        try:
            told += _tell(store, episode, critical, now)
        except VersionConflict:  # what another one's version leaves to be told is told next time
            continue
        except (NotFound, Corrupt) as error:
            error_once(_log, "episode not told id=%s reason=%s", episode.exam_id, error.reason)
        if episode.course.ended:
            store.note_end_told(episode.id)
    return told


def _tell(store: Store, episode: Episode, critical: CriticalSettings, now: datetime) -> bool:
    course, exam_id = episode.course, episode.exam_id
    if exam_id is None:
        return False
    newest = store.read_report(exam_id)
    if newest.status is not ReportStatus.PRELIMINARY:
        return False
    told = [reason for alert in alerts_of(newest) for reason in alert["reasonCode"]]
    unknown = course.critical and RHYTHM_FINDING[course.code] not in told
    codes = (course.code,) if unknown else ()
    if not codes and (course.ended is None or tells_end(newest.bundle)):
        return False
    exam, findings = store.load_findings(exam_id)
    bundle = build_report(exam, findings, issued=now, critical=codes, told=len(told))
    new = NewVersion(
        ReportStatus.PRELIMINARY,
        now,
        following(newest.bundle, bundle),
        "worker",
        critical=codes,
        answer_by=None if exam.silent else critical.answer_by(now),
    )
    store.add_version(exam_id, new, expected=newest.version)
    if codes:
        _log.warning("critical finding id=%s codes=%s", exam_id, course.code)
    return True
