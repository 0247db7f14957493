import pytest

from integration.formats.files import read_limited
from model.errors import EcgError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    return path


def test_a_file_within_the_limit_is_read_wholly(file):
    assert read_limited(file, 5) == b"12345"


def test_a_file_over_the_limit_is_refused_unless_its_start_was_asked_for(file):
    with pytest.raises(EcgError, match="file-too-large"):
        read_limited(file, 4)
    assert read_limited(file, 4, whole=False) == b"1234"
    assert read_limited(file, 9, whole=False) == b"12345"


def test_what_is_not_a_file_is_refused(tmp_path):
    with pytest.raises(EcgError, match="file-missing"):
        read_limited(tmp_path / "nothing", 5)
    with pytest.raises(EcgError, match="file-unreadable"):
        read_limited(tmp_path, 5)
