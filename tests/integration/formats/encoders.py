"""Small writers of each format, for round trips and for files that are wrong on purpose."""

import base64
import binascii
import struct
import zlib

import numpy as np

from model.ecg import LEADS_12

RATE_HZ, STEP_UV = 500, 2.5


def limb_leads_agree(counts):
    """Return the counts of twelve leads whose limb leads follow from I and II, rounded down."""
    i, ii = counts[:2]
    iii = ii - i
    return np.vstack([i, ii, iii, -((i + ii) // 2), (i - iii) // 2, (ii + iii) // 2, counts[6:]])


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


def muse_lead(name, counts, units_per_bit="4.88", units="MICROVOLTS"):
    content = np.asarray(counts, "<i2").tobytes()
    return (
        f"<LeadData><LeadByteCountTotal>{len(content)}</LeadByteCountTotal>"
        "<LeadTimeOffset>0</LeadTimeOffset>"
        f"<LeadSampleCountTotal>{len(content) // 2}</LeadSampleCountTotal>"
        f"<LeadAmplitudeUnitsPerBit>{units_per_bit}</LeadAmplitudeUnitsPerBit>"
        f"<LeadAmplitudeUnits>{units}</LeadAmplitudeUnits><LeadID>{name}</LeadID>"
        "<LeadOffsetFirstSample>0</LeadOffsetFirstSample>"
        "<FirstSampleBaseline>0</FirstSampleBaseline><LeadSampleSize>2</LeadSampleSize>"
        f"<LeadDataCRC32>{zlib.crc32(content)}</LeadDataCRC32>"
        f"<WaveFormData>\n{base64.encodebytes(content).decode()}</WaveFormData></LeadData>"
    )


MUSE_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def muse_waveform(counts, leads=MUSE_LEADS, kind="Rhythm", base="500"):
    data = "".join(muse_lead(lead, row) for lead, row in zip(leads, counts, strict=True))
    return (
        f"<Waveform><WaveformType>{kind}</WaveformType><NumberofLeads>{len(leads)}</NumberofLeads>"
        f"<SampleBase>{base}</SampleBase><SampleExponent>0</SampleExponent>{data}</Waveform>"
    )


def muse_xml(*waveforms):
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?><!DOCTYPE RestingECG SYSTEM "restecg.dtd">'
        "<RestingECG><PatientDemographics><PatientID>P-1</PatientID><PatientLastName>M\u00fcller"
        "</PatientLastName></PatientDemographics><TestDemographics>"
        "<AcquisitionDevice>MAC1</AcquisitionDevice><AcquisitionTime>03:04:05</AcquisitionTime>"
        "<AcquisitionDate>01-02-2026</AcquisitionDate></TestDemographics>"
        f"{''.join(waveforms)}</RestingECG>"
    ).encode("latin-1")


def lzw(content, bits=10):
    """Return the codes of XLI's LZW as bytes; the table is never emptied."""
    table = {bytes((byte,)): byte for byte in range(256)}
    codes, current = [], b""
    for i in range(len(content)):
        longer = current + content[i : i + 1]
        if longer in table:
            current = longer
            continue
        codes.append(table[current])
        if len(table) < (1 << bits) - 1:
            table[longer] = len(table)
        current = longer[-1:]
    codes += [table[current], (1 << bits) - 1]
    return packed_bits("".join(f"{code:0{bits}b}" for code in codes))


def packed_bits(bits, fill="0"):
    bits += fill * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def xli_chunk(samples):
    """Return one lead: header, then LZW of the high bytes and the low bytes of all words."""
    samples = [int(sample) for sample in samples]
    told = [2 * y - x - z for x, y, z in zip(samples, samples[1:], samples[2:], strict=False)]
    words = np.array([*samples[:2], *(bend + 64 for bend in told[1:]), 64], ">i2")
    content = lzw(words.tobytes()[::2] + words.tobytes()[1::2])
    return struct.pack("<IHh", len(content), 1, told[0]) + content


def sierra_stored(counts):
    """Return what stands in the file for twelve leads: limb leads by what they differ."""
    i, ii, iii, avr, avl, avf = counts[:6]
    limb = [ii - i - iii, -((i + ii) // 2) - avr, (i - iii) // 2 - avl, (ii + iii) // 2 - avf]
    return np.vstack([counts[:2], limb, counts[6:]])


def sierra_xml(counts, version="1.04", codec="utf-16"):
    chunks = [xli_chunk(row) for row in (*sierra_stored(counts), np.zeros(counts.shape[1]))]
    named = f'numberofleads="12" leadlabels="{" ".join(LEADS_12)}"'
    shape = {
        "1.03": ("signalresolution", 'compressflag="True" compressmethod="XLI"'),
        "1.04": ("resolution", f'compression="XLI" {named} resolution="5" samplespersecond="500"'),
    }
    resolution, attributes = shape[version]
    return (
        f'<?xml version="1.0" encoding="{codec}"?>'
        '<restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo>'
        f"<documentversion>{version}</documentversion></documentinfo>"
        '<dataacquisition date="2026-01-02" time="03:04:05"><machine machineid="1">Cart</machine>'
        f"<signalcharacteristics><samplingrate>500</samplingrate><{resolution}>5</{resolution}>"
        "<acquisitiontype>STD-12</acquisitiontype><bitspersample>16</bitspersample>"
        "<signaloffset>0</signaloffset><signalsigned>True</signalsigned></signalcharacteristics>"
        "</dataacquisition><patient><generalpatientdata><patientid>P-1</patientid>"
        "</generalpatientdata></patient><waveforms>"
        f'<parsedwaveforms dataencoding="Base64" {attributes} '
        f'durationperchannel="{counts.shape[1] * 2}">{base64.b64encode(b"".join(chunks)).decode()}'
        "</parsedwaveforms></waveforms></restingecgdata>"
    ).encode(codec)


SCP_NUMBERS = dict(zip(LEADS_12, (1, 2, 61, 62, 63, 64, *range(3, 9)), strict=True))


def scp_huffman(values):
    """Return values in the default table of EN 1064, annex C."""
    bits = []
    for value in map(int, values):
        if value == 0:
            bits.append("0")
        elif abs(value) <= 8:
            bits.append("1" * (abs(value)) + "0" + ("1" if value < 0 else "0"))
        elif -128 <= value < 128:
            bits.append("1111111110" + f"{value & 0xFF:08b}")
        else:
            bits.append("1111111111" + f"{value & 0xFFFF:016b}")
    return packed_bits("".join(bits), fill="1")


def differences(row, order):
    """Return first or second differences after the one or two samples they begin with."""
    return np.concatenate([row[:order], np.diff(row, order)]) if order else row


def scp_waves(counts, *, order=2, huffman=scp_huffman, step_nv=2500, interval_us=2000, bimodal=0):
    rows = [differences(row, order) for row in counts]
    rows = [huffman(row) if huffman else row.astype("<i2").tobytes() for row in rows]
    sizes = struct.pack(f"<{len(rows)}H", *map(len, rows))
    return struct.pack("<HHBB", step_nv, interval_us, order, bimodal) + sizes + b"".join(rows)


def scp_leads(leads, n_samples, flags=0x64, first=1):
    found = [struct.pack("<IIB", first, n_samples, number) for number in leads]
    return bytes((len(leads), flags)) + b"".join(found)


def scp_tags(**changes):
    device = bytes(8) + b"M1\0\0\0\0" + bytes(22) + b"a\0b\0c\0d\0Maker\0"
    found = {"2": b"P-1\0", "14": device, "25": b"\xea\x07\x01\x02", "26": b"\x03\x04\x05"}
    found |= {key.removeprefix("tag"): value for key, value in changes.items()}
    tags = [struct.pack("<BH", int(tag), len(value)) + value for tag, value in found.items()]
    return b"".join(tags) + b"\xff\0\0"


def scp_sections(counts, leads=LEADS_12, **waves):
    """Return the data of each section of a whole record."""
    return {
        1: scp_tags(),
        2: struct.pack("<H", 19_999),
        3: scp_leads([SCP_NUMBERS[lead] for lead in leads], counts.shape[1]),
        6: scp_waves(counts, **waves),
    }


def scp_section(number, content):
    rest = struct.pack("<HIBB", number, 16 + len(content), 20, 20)
    rest += (b"SCPECG" if number == 0 else bytes(6)) + content
    return struct.pack("<H", binascii.crc_hqx(rest, 0xFFFF)) + rest


def scp_record(sections):
    """Return a record of sections, with its pointers and checksums."""
    place = 7 + 16 + 10 * (len(sections) + 1)
    pointers = [struct.pack("<HII", 0, place - 7, 7)]
    bodies = []
    for number, content in sections.items():
        bodies.append(scp_section(number, content))
        pointers.append(struct.pack("<HII", number, len(bodies[-1]), place))
        place += len(bodies[-1])
    rest = scp_section(0, b"".join(pointers)) + b"".join(bodies)
    rest = struct.pack("<I", len(rest) + 6) + rest
    return struct.pack("<H", binascii.crc_hqx(rest, 0xFFFF)) + rest
