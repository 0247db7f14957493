"""The 12-lead resting network and its training."""
