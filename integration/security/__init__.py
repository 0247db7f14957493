"""Who is at the other end of a connection, and that nobody else listens."""
