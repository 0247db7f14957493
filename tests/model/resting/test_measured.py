import numpy as np

from model.resting.measured import Measured


def some(n, value):
    shapes = ((6,), (71,), (6, 5), (12, 5), (6, 16), (12, 40))
    return Measured(*(np.full((n, *shape), value, np.float32) for shape in shapes))


def test_parts_join_in_their_order():
    whole = Measured.joined([some(2, 1.0), some(1, 2.0)])
    assert whole.type_logits[:, 0].tolist() == [1, 1, 2]
    assert whole.restored_mv.shape == (3, 12, 40)
    assert whole.residual_mv.shape == (3, 12, 5)
    assert whole.attention[2].max() == whole.attention[2].min() == 2
