import numpy as np
import pytest

from integration.formats import read_ecg
from model.datasets import ptbxl, ptbxl_cases
from model.datasets.cases import NO, YES
from model.errors import DatasetError, EcgError
from tests.ptbxl_folder import write_ptbxl


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_ptbxl(tmp_path_factory.mktemp("data") / "ptbxl", 6, folds=(8, 9))


def test_a_folder_and_its_arrays_are_the_same_cases(folder):
    one = ptbxl_cases.cases(folder, (9,), read_ecg)
    other = ptbxl_cases.from_arrays(ptbxl.load(folder, (9,)))
    for name in ("types", "normal", "patient", "fold", "statements"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_allclose(one.ecg(2).voltage_mv, other.ecg(2).voltage_mv, atol=1e-6)
    assert one.statement_names == other.statement_names
    assert one.groups["sex"].tolist() == other.groups["sex"].tolist() == ["male", "female"] * 3


def test_normal_means_no_other_type(folder):
    found = ptbxl_cases.cases(folder, (9,), read_ecg)
    assert found.normal.tolist() == [YES, NO, NO, NO, NO, YES]
    assert set(np.unique(found.types)) == {NO, YES}


def test_sites_devices_and_old_age(folder, tmp_path):
    table = (folder / "ptbxl_database.csv").read_text().splitlines()
    table = [
        f"{line},{tail}"
        for line, tail in zip(table, ["site,device"] + ["2.0,CS-12   E"] * 12, strict=True)
    ]
    copy = tmp_path / "ptbxl"
    copy.mkdir()
    (copy / "ptbxl_database.csv").write_text("\n".join(table).replace("60.0", "300.0"))
    (copy / "scp_statements.csv").write_text((folder / "scp_statements.csv").read_text())
    found = ptbxl_cases.cases(copy, (9,), read_ecg)
    assert set(found.groups["site"]) == {"site 2"}
    assert set(found.groups["device"]) == {"CS-12 E"}
    assert set(found.age) == {90.0}
    with pytest.raises(EcgError, match="file-"):
        found.ecg(0)


def test_a_missing_fold_is_refused(folder):
    with pytest.raises(DatasetError, match="fold-missing"):
        ptbxl_cases.cases(folder, (10,), read_ecg)
