from integration.cli.recordings import recordings

FILES = ("a.dcm", "b/1.hea", "b/1.dat", "b/1.atr", "b/2.mat", "b/RECORDS", ".hidden", ".git/x.dcm")


def test_files_as_named_and_folders_at_any_depth(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    lone = tmp_path / "b" / "1.dat"
    found = list(recordings([lone, tmp_path]))
    assert found[0] == (lone, True)
    named = [(path.relative_to(tmp_path).as_posix(), must) for path, must in found[1:]]
    assert named == [("a.dcm", True), ("b/1.hea", True), ("b/2.mat", True), ("b/RECORDS", False)]


def test_a_missing_file_is_for_the_reader_to_refuse(tmp_path):
    assert list(recordings([tmp_path / "none"])) == [(tmp_path / "none", True)]
