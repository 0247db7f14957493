"""The command line `hisbundle`."""
