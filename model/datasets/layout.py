"""Which data set a folder holds, by what lies in it."""

from pathlib import Path

from model.datasets import cinc, cinc2017, ludb, ptbxl_cases
from model.datasets.cases import Cases, Read
from model.datasets.headers import wfdb_headers
from model.errors import DatasetError

PTBXL_TABLE = "ptbxl_database.csv"
_HEADERS_TRIED = 200  # some may lack labels


def layout_of(folder: Path) -> str:
    """`ptbxl`, `ludb` or `cinc`.

    Raises:
        DatasetError: `dataset-missing` (no such folder), `layout-unknown`.
    """
    if not folder.is_dir():
        raise DatasetError("dataset-missing", f"{folder} is not a folder")
    if _ptbxl_root(folder):
        return "ptbxl"
    if ludb.table_of(folder):
        return "ludb"
    for _, header in zip(range(_HEADERS_TRIED), wfdb_headers(folder), strict=False):
        if cinc.has_codes(header):
            return "cinc"
        if ludb.has_words(header):
            return "ludb"
    if cinc2017.has_labels(folder) or any(folder.glob("*.atr")):
        raise DatasetError(
            "layout-unknown", f"{folder} holds strips or beats, which measure a strip bundle"
        )
    raise DatasetError(
        "layout-unknown",
        f"{folder} holds neither {PTBXL_TABLE}, nor {ludb.TABLE} or LUDB's headers, nor WFDB "
        "headers with SNOMED codes in a Dx line",
    )


def labelled(folder: Path, folds: tuple[int, ...] | None, read: Read) -> Cases:
    """Labels of a folder of any layout; `folds` are PTB-XL's, 9 when None.

    Raises:
        DatasetError: as `layout_of`, `folds-unknown` when the data set has none, or what the
            reader of the layout raises.
    """
    layout = layout_of(folder)
    if layout == "ptbxl":
        return ptbxl_cases.cases(ptbxl_root(folder), folds or (9,), read)
    if folds is not None:
        raise DatasetError("folds-unknown", "only PTB-XL is divided into folds")
    reader = ludb.cases if layout == "ludb" else cinc.cases
    return reader(folder, read)


def ptbxl_root(folder: Path) -> Path:
    """Where PTB-XL's table lies: in the folder or one below it; the folder itself if nowhere."""
    return _ptbxl_root(folder) or folder


def _ptbxl_root(folder: Path) -> Path | None:
    below = sorted(place for place in folder.iterdir() if place.is_dir())
    return next((p for p in (folder, *below) if (p / PTBXL_TABLE).is_file()), None)
