"""Public ECG data sets as arrays."""
