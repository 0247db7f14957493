"""Alembic's folder: `env.py`, the template that new migrations start from, and `versions/`."""
