"""Messages as senders would write them, made by this file alone; a lead is `(name, samples)`."""

MSH = "MSH|^~\\&|CART|WARD|HIS|HOSP|20260102030405+0100||ORU^R01^ORU_R01|C1|P|2.6"
MSH_W01 = MSH.replace("ORU^R01^ORU_R01", "ORU^W01^ORU_W01")
PID = "PID|1||4711^^^HOSP^MR"
OBR = "OBR|1|P1^X|F1^Y|69121^MDC_OBS_WAVE_CTS^MDC|||20260102030400+0100"

CODES = {"I": 131329, "II": 131330, "III": 131389, "aVR": 131390, "aVL": 131391, "aVF": 131392} | {
    f"V{n}": 131330 + n for n in range(1, 7)
}
LEADS = tuple(CODES)
RATE = "NM|0^MDC_ATTR_SAMP_RATE^MDC|{path}.1|500|264640^MDC_DIM_HZ^MDC"
RESOLUTION = "NM|2327^MDC_ATTR_NU_MSMT_RES^MDC|{path}.2|0.005|266418^MDC_DIM_MILLI_VOLT^MDC"


def obx(*bodies):
    """Number OBX segments: a body starts with OBX-2."""
    return [f"OBX|{n}|{body}" for n, body in enumerate(bodies, start=1)]


def wcm_lead(name, samples="0^1^-2", *, path="1.1.1.1", unit="", attributes=(RATE, RESOLUTION)):
    """Bodies of one lead: NA and its attributes."""
    identifier = f"{CODES[name]}^MDC_ECG_ELEC_POTL_{name.upper()}^MDC"
    own = f"NA|{identifier}|{path}|{samples}|{unit}|||||F"
    return [own, *(attribute.format(path=path) + "|||||F" for attribute in attributes)]


def wcm(*bodies, msh=MSH, pid=PID, obr=OBR, end="\r"):
    """A message of shape B; `bodies` are OBX without their numbers."""
    segments = [msh, *([pid] if pid else []), *([obr] if obr else []), *obx(*bodies)]
    return end.join([*segments, ""]).encode()


def twelve(samples="0^1^-2", **options):
    """Bodies of twelve leads."""
    return [
        body
        for n, name in enumerate(LEADS, start=1)
        for body in wcm_lead(name, samples, path=f"1.1.1.{n}", **options)
    ]


def generic(*bodies, msh=MSH_W01, pid=PID, obr=OBR):
    """A message of shape A."""
    return wcm(*bodies, msh=msh, pid=pid, obr=obr)
