import pytest

from model.datasets.headers import MAX_HEADER_BYTES, named, remarks, wfdb_headers


def test_headers_are_found_at_any_depth_but_not_in_hidden_folders(tmp_path):
    for name in ("b/g1/2.hea", "a.hea", "b/1.hea", ".git/x.hea", "b/.y.hea", "b/1.dat"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [h.relative_to(tmp_path).as_posix() for h in wfdb_headers(tmp_path)]
    assert found == ["a.hea", "b/1.hea", "b/g1/2.hea"]


def test_remarks_of_either_age(tmp_path):
    header = tmp_path / "a.hea"
    header.write_bytes(
        b"a 1 500 5000\na.mat 16 1000 16 0 0 0 0 I\n# Dx: 1, 2\r\n#Age: 63\n #\xe9\n"
    )
    assert remarks(header) == ["Dx: 1, 2", "Age: 63", "\xe9"]


def test_a_missing_or_endless_header_has_few_remarks(tmp_path):
    assert remarks(tmp_path / "no.hea") == []
    (tmp_path / "big.hea").write_text("x" * MAX_HEADER_BYTES + "\n#Dx: 1\n")
    assert remarks(tmp_path / "big.hea") == []


@pytest.mark.parametrize(
    ("remark", "expected"),
    [
        ("Age: 63", ("age", "63")),
        ("<age>: 51", ("age", "51")),
        ("<diagnoses>:", ("diagnoses", "")),
        ("Left ventricular hypertrophy.", ("", "Left ventricular hypertrophy.")),
    ],
)
def test_names_and_values(remark, expected):
    assert named(remark) == expected
