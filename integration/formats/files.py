"""Files from outside, read up to a limit."""

from pathlib import Path

from model.errors import EcgError


def read_limited(path: Path, max_bytes: int, *, whole: bool = True) -> bytes:
    """Return a file's bytes, or without `whole` its first `max_bytes`.

    Raises:
        EcgError: `file-missing`, `file-unreadable`; `file-too-large` where the whole is wanted.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + whole)
    except FileNotFoundError:
        raise EcgError("file-missing", "there is no such file") from None
    except OSError:
        raise EcgError("file-unreadable", "the file cannot be read") from None
    if len(content) > max_bytes:
        raise EcgError("file-too-large", f"more than {max_bytes} bytes")
    return content
