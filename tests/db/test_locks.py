import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from db.store import Store


def test_one_holds_a_lock_and_another_name_is_another_lock(store, store_url):
    other, inside, most = Store.open(store_url), [], []
    guard = threading.Lock()

    def work(n):
        with (store if n % 2 else other).exclusively("device"):
            with guard:
                inside.append(n)
                most.append(len(inside))
            with store.exclusively("another"):
                pass
            with guard:
                inside.remove(n)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(20)))
    other.close()
    assert most == [1] * 20


def test_a_lock_is_free_again_after_a_fault(store):
    with pytest.raises(RuntimeError), store.exclusively("device"):
        raise RuntimeError
    with store.exclusively("device"):
        pass
