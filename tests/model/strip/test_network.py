import pytest
import torch

from model.strip.inputs import N_RHYTHM, N_TRAITS, WINDOW
from model.strip.network import BeatNetwork
from model.strip.settings import ATTENTION_STEPS, Dimensions


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return BeatNetwork(Dimensions()).eval()


def beats(b, t):
    torch.manual_seed(1)
    return (
        torch.randn(b, t, 2, WINDOW),
        torch.randn(b, t, 2 * N_TRAITS),
        torch.randn(b, t, N_RHYTHM),
    )


def test_what_it_says_of_a_sequence(network):
    reading = network(*beats(3, 7), torch.ones(3, 7, dtype=torch.bool))
    assert reading.logits.shape == (3, 7, 5)
    assert reading.ectopy.shape == (3,)
    torch.testing.assert_close(reading.attention.sum(dim=1), torch.ones(3))


def test_each_beat_is_looked_at_where_its_weight_lies(network):
    codes, attention = network.encoder(*(part[:, 0] for part in beats(3, 1)))
    assert codes.shape == (3, Dimensions().code_width)
    assert attention.shape == (3, ATTENTION_STEPS)
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(3))


def test_absent_beats_get_no_attention_and_say_nothing(network):
    shapes, traits, rhythm = beats(1, 8)
    present = torch.arange(8)[None] < 5
    one = network(shapes, traits, rhythm, present)
    shapes[:, 5:], traits[:, 5:], rhythm[:, 5:] = 9.0, 9.0, 9.0
    two = network(shapes, traits, rhythm, present)
    assert one.attention[0, 5:].max() < 1e-6
    torch.testing.assert_close(one.logits[:, :5], two.logits[:, :5])
    torch.testing.assert_close(one.ectopy, two.ectopy)


def test_it_is_small():
    n = sum(p.numel() for p in BeatNetwork(Dimensions()).parameters())
    assert 100_000 < n < 160_000


def test_neighbours_matter(network):
    shapes, traits, rhythm = beats(1, 8)
    present = torch.ones(1, 8, dtype=torch.bool)
    one = network(shapes, traits, rhythm, present).logits[0, 3]
    rhythm[0, 4] += 3
    assert (network(shapes, traits, rhythm, present).logits[0, 3] - one).abs().max() > 1e-4
