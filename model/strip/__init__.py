"""The strip model: beats and rhythm of 1-12 leads of any length."""
