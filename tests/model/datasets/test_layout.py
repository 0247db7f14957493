import pytest

from integration.formats import read_ecg
from model.datasets.layout import labelled, layout_of, ptbxl_root
from model.errors import DatasetError
from model.simulate import simulate
from tests import beat_records
from tests.cinc2017_folder import write_cinc2017
from tests.ptbxl_folder import write_ptbxl
from tests.wfdb_folder import write_cinc, write_ludb, write_record


def test_a_folder_says_what_it_holds(tmp_path):
    write_ptbxl(tmp_path / "a" / "ptb-xl-1.0.3", 1, folds=(9,))
    write_ludb(tmp_path / "b", 1)
    write_ludb(tmp_path / "c", 1, words="table")
    write_cinc(tmp_path / "d", 1)
    assert [layout_of(tmp_path / name) for name in "abcd"] == ["ptbxl", "ludb", "ludb", "cinc"]
    assert ptbxl_root(tmp_path / "a") == tmp_path / "a" / "ptb-xl-1.0.3"
    assert ptbxl_root(tmp_path / "d") == tmp_path / "d"
    for name, source in (("a", "PTB-XL"), ("b", "LUDB"), ("d", "WFDB with SNOMED codes")):
        assert labelled(tmp_path / name, None, read_ecg).source == source


def test_one_unlabelled_header_does_not_hide_the_others(tmp_path):
    write_record(tmp_path / "0", simulate("normal", seed=1, duration_s=5.0), ["Age: 3"])
    write_cinc(tmp_path, 1)
    assert layout_of(tmp_path) == "cinc"


@pytest.mark.parametrize(
    ("name", "reason"), [("nowhere", "dataset-missing"), (".", "layout-unknown")]
)
def test_what_it_cannot_be_is_told(tmp_path, name, reason):
    with pytest.raises(DatasetError) as refused:
        layout_of(tmp_path / name)
    assert refused.value.reason == reason


def test_what_measures_a_strip_bundle_is_told(tmp_path):
    beats = tmp_path / "beats"
    beats.mkdir()
    beat_records.write_record(beats, beat_records.beat_record(n_beats=9))
    strips = write_cinc2017(tmp_path / "strips", n_per_class=1)
    for folder in (beats, strips):
        with pytest.raises(DatasetError, match=r"layout-unknown: .*a strip bundle"):
            layout_of(folder)


def test_only_ptbxl_has_folds(tmp_path):
    with pytest.raises(DatasetError, match="folds-unknown"):
        labelled(write_cinc(tmp_path, 1), (9,), read_ecg)
