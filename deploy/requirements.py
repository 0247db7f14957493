"""Prints what the container image installs: the project's dependencies without torch.

Scoring runs on ONNX Runtime; `hisbundle train`, `evaluate`, `export` and `bench model` need torch
and are no business of a server. Redis as a broker is included.
"""

import sys
import tomllib
from pathlib import Path

LEFT_OUT = ("torch==",)


def requirements(pyproject: Path) -> list[str]:
    """Return them, one a line."""
    project = tomllib.loads(pyproject.read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["redis"]]
    return [one for one in wanted if not one.startswith(LEFT_OUT)]


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(Path("pyproject.toml"))) + "\n")
