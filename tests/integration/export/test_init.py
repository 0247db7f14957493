from integration.export import ENCODERS
from tests.integration.export.conftest import WHOLE, exam_of


def test_every_format_gives_its_files():
    made = {name: sorted(encode(exam_of(WHOLE))) for name, encode in ENCODERS.items()}
    assert made == {"wfdb": [".dat", ".hea"], "dicom": [".dcm"], "aecg": [".xml"]}
