"""Monitors' chunks from a broker's topic: each window once and whole, whatever dies meanwhile."""

import random
import signal
import threading
from collections import Counter
from contextlib import closing
from datetime import timedelta

from db.store import Store
from model.stitch import WINDOW_S, Span, windows_in
from tests.chunk_events import T0, TYPE, chunk_bytes, stream_of
from tests.journey.conftest import free_port

DEVICES = tuple(f"MONITOR-{n}" for n in range(5))
MIDDLE, LATE, END = 33, 55, 75  # seconds that are sent: twice until within windows, and in all


def send(kafka_cluster, topic, seconds, draw):
    """Send every device's chunks: some twice, some before those before them."""
    order = [
        (second, device)
        for second in seconds
        for device in DEVICES
        for _ in range(2 if draw.random() < 0.2 else 1)
    ]
    order.sort(key=lambda chunk: chunk[0] + draw.choice([0, 0, 0, 1.5]))
    producer = kafka_cluster.producer()
    try:
        for second, device in order:
            value = chunk_bytes(second, device=device)
            producer.send(topic, value, key=device.encode(), headers=TYPE).get(30)
    finally:
        producer.close()


def windows_of(installation, topic):
    """Return (device, start) of all windows, each as often as it is there, and which are whole."""
    with closing(Store.open(f"sqlite:///{installation.folder}/data/hisbundle.db")) as store:
        found = store.find_windows(limit=1000)
    named = {stream_of(topic, device).id: device for device in DEVICES}
    counted = Counter((named[stream_id], window.start) for stream_id, window in found)
    whole = {
        (named[stream_id], window.start)
        for stream_id, window in found
        if window.share == 1.0 and not window.overlapping
    }
    return counted, whole


def expected(topic, end_s):
    """Return the windows that are whole after so many seconds."""
    end = T0 + timedelta(seconds=end_s)
    spans = [
        Span(T0 + timedelta(seconds=n), T0 + timedelta(seconds=n + 1), ("II",))
        for n in range(end_s)
    ]
    return {
        (device, start)
        for device in DEVICES
        for start in windows_in(spans, stream_of(topic, device).phase, None)
        if start + timedelta(seconds=WINDOW_S) <= end
    }


def test_every_window_is_made_once_whatever_dies_within_it(install_reader, kafka_cluster, topic):
    draw = random.Random(7)
    installation = install_reader()
    first = installation.serve()
    send(kafka_cluster, topic, range(MIDDLE), draw)
    installation.wait_for(lambda: windows_of(installation, topic)[0], "the first window")
    first.send_signal(signal.SIGKILL)  # its worker ends with it
    first.wait()
    second = installation.serve()
    sending = threading.Thread(target=send, args=(kafka_cluster, topic, range(MIDDLE, LATE), draw))
    sending.start()
    ports = {f"HISBUNDLE_{name}__PORT": str(free_port()) for name in ("MLLP", "HTTP")}
    installation.start("serve", "--no-worker", **ports)
    sending.join()
    second.send_signal(signal.SIGKILL)
    second.wait()
    installation.start("worker")
    send(kafka_cluster, topic, range(LATE, END), draw)  # for the third alone to read
    wanted = expected(topic, END)
    installation.wait_for(lambda: wanted <= windows_of(installation, topic)[0].keys(), "windows")
    counted, whole = windows_of(installation, topic)
    assert set(counted.values()) == {1}
    assert wanted <= whole
    assert installation.status()["messages"] == {
        "accepted": END * len(DEVICES),
        "not-ecg": 0,
        "refused": 0,
    }
