import math
import time

import pytest

from integration.deadline import all_within, connect_s, left_s


def test_steps_share_what_time_there_is():
    assert left_s() == math.inf
    with all_within(0.05):
        assert 0 < left_s() <= 0.05
        time.sleep(0.06)
        with pytest.raises(TimeoutError):
            left_s()
    assert left_s() == math.inf


def test_a_block_inside_ends_no_later_than_the_one_around_it():
    with all_within(10):
        assert 3 < connect_s() < 3.4  # the name may have other addresses
        with all_within(60):
            assert left_s() <= 10
        with all_within(1):
            assert left_s() <= 1
        assert left_s() > 5
