"""Celery tasks over plain functions."""
