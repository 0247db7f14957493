"""A listener of Kafka with a database of its own, in the test's own process."""

from sqlalchemy import create_engine, func, select

from db.store import Store
from db.tables import ExamRow, MessageRow
from integration.kafka_intake import KafkaIntake
from integration.listeners.kafka import KafkaListener
from tests.databases import new_database


class Site:
    """One database; listeners come and go."""

    def __init__(self, folder):
        self.url = new_database(folder / "site.db")
        self.store = Store.open(self.url)
        self.engine = create_engine(self.url)
        self.listeners = []

    def listener(self, settings, *, intake=None):
        made = KafkaListener.open(settings, intake or KafkaIntake(self.store, None, settings))
        self.listeners.append(made)
        made.start()
        return made

    def exams(self):
        with self.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(ExamRow))

    def reason_of(self, message_id):
        with self.engine.connect() as connection:
            return connection.scalar(select(MessageRow.reason).where(MessageRow.id == message_id))

    def close(self):
        for listener in self.listeners:
            listener.stop()
        self.store.close()
        self.engine.dispose()
