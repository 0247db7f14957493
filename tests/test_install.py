"""What the two commands of the README install."""

from importlib.metadata import distributions
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]


def installed():
    return {d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions()}


def test_the_cpu_build_of_torch_brings_no_cuda_packages():
    cuda = [
        name for name in installed() if name.startswith(("nvidia-", "cuda-")) or name == "triton"
    ]
    assert torch.version.cuda is not None or cuda == []


def test_every_installed_package_is_pinned():
    lines = (ROOT / "deploy" / "constraints.txt").read_text().splitlines()
    pins = {
        name.lower().replace("_", "-"): version for name, version in (s.split("==") for s in lines)
    }
    for name in ("torch", "celery", "sqlalchemy", "onnxruntime", "wfdb", "fhir.resources"):
        assert installed()[name].split("+")[0] == pins[name]
