"""Fixtures for real ECGs: from $ECG_DATA (expanded), else expanded from ../shared/data."""

import importlib.util
import os
import tarfile
from pathlib import Path

import pytest

PACKED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def ptbxl_headers(tmp_path_factory):
    """Headers of PTB-XL records, in their order; of fold 9 where they are packed."""
    if given := os.environ.get("ECG_DATA"):
        return sorted((Path(given) / "ptbxl100" / "records100").rglob("*.hea"))
    fold = PACKED / "ptbxl100" / "fold9.xz"
    if not fold.is_file():
        pytest.skip("PTB-XL is neither at $ECG_DATA nor in ../shared/data")
    spec = importlib.util.spec_from_file_location("unpack", PACKED / "unpack.py")
    assert spec is not None
    assert spec.loader is not None
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    folder = tmp_path_factory.mktemp("ptbxl100")
    unpack.unpack_fold(fold, folder)
    return sorted(folder.rglob("*.hea"))


@pytest.fixture(scope="session")
def nstdb(tmp_path_factory):
    """Folder of the three MIT-BIH noise recordings."""
    return _expanded("nstdb", "ma.hea", tmp_path_factory)


@pytest.fixture(scope="session")
def mitdb(tmp_path_factory):
    """Folder of the MIT-BIH recordings of DS1 and the paced ones."""
    return _expanded("mitdb", "101.hea", tmp_path_factory)


@pytest.fixture(scope="session")
def bxb():
    """Folder of test annotations and what the reference comparator printed about them."""
    if not (PACKED / "bxb" / "101.tst").is_file():
        pytest.skip("bxb's reference results are not in ../shared/data")
    return PACKED / "bxb"


def _expanded(name, header, tmp_path_factory):
    if given := os.environ.get("ECG_DATA"):
        return Path(given) / name
    packed = PACKED / f"{name}.tar.xz"
    if not packed.is_file():
        pytest.skip(f"{name} is neither at $ECG_DATA nor in ../shared/data")
    folder = tmp_path_factory.mktemp(name)
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.rglob(header)).parent
