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
    if given := os.environ.get("ECG_DATA"):
        return Path(given) / "nstdb"
    if not (PACKED / "nstdb.tar.xz").is_file():
        pytest.skip("NSTDB is neither at $ECG_DATA nor in ../shared/data")
    folder = tmp_path_factory.mktemp("nstdb")
    with tarfile.open(PACKED / "nstdb.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return next(folder.rglob("ma.hea")).parent
