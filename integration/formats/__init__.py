"""ECG files read into an Ecg."""
