import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """As in the product: torch's threads only wait for each other on a busy machine."""
    torch.set_num_threads(1)
