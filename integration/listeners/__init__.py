"""Shells around the protocols: sockets in, answers out."""
