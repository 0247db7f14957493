"""Small writers of each format, for round trips and for files that are wrong on purpose."""

import numpy as np

from model.ecg import LEADS_12

RATE_HZ, STEP_UV = 500, 2.5


def make_counts(n_leads=12, n_samples=5000, seed=0):
    """Return `(n_leads, n_samples)` whole numbers that look a little like an ECG."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / RATE_HZ
    beats = 400 * np.exp(-(((t % 0.8 - 0.4) / 0.02) ** 2)) + 100 * np.sin(2 * np.pi * 0.3 * t)
    gains = rng.uniform(-1.5, 1.5, (n_leads, 1))
    return np.rint(gains * beats + rng.normal(0, 8, (n_leads, n_samples))).astype(int)


AECG_TIME = (
    '<code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS"><head value="{head}"/>'
    '<increment value="0.002" unit="s"/></value>'
)


def aecg_sequence(lead, counts, scale=STEP_UV, unit="uV"):
    digits = " ".join(map(str, counts))
    return (
        f'<code code="MDC_ECG_LEAD_{lead.upper()}" codeSystemName="MDC"/>'
        f'<value xsi:type="SLIST_PQ"><origin value="0" unit="{unit}"/>'
        f'<scale value="{scale}" unit="{unit}"/><digits>{digits}</digits></value>'
    )


def aecg_series(counts, leads=LEADS_12, code="RHYTHM", head="20260102030405.000+0100"):
    sequences = [AECG_TIME.format(head=head)]
    sequences += [aecg_sequence(lead, row) for lead, row in zip(leads, counts, strict=True)]
    inner = "".join(f"<component><sequence>{s}</sequence></component>" for s in sequences)
    return (
        f'<series><code code="{code}"/><effectiveTime><low value="20260102030400+0100"/>'
        "</effectiveTime><author><seriesAuthor><manufacturedSeriesDevice>"
        "<manufacturerModelName>M1</manufacturerModelName></manufacturedSeriesDevice>"
        "<manufacturerOrganization><name>Maker</name></manufacturerOrganization></seriesAuthor>"
        f"</author><component><sequenceSet>{inner}</sequenceSet></component></series>"
    )


def aecg_xml(*series, subject='<id root="1.2.3" extension="S-1"/>'):
    components = "".join(f"<component>{one}</component>" for one in series)
    return (
        '<?xml version="1.0" encoding="UTF-8"?><AnnotatedECG xmlns="urn:hl7-org:v3" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><effectiveTime>'
        '<low value="20260101+0100"/></effectiveTime><componentOf><timepointEvent><componentOf>'
        f"<subjectAssignment><subject><trialSubject>{subject}</trialSubject></subject>"
        "</subjectAssignment></componentOf></timepointEvent></componentOf>"
        f"{components}</AnnotatedECG>"
    ).encode()
