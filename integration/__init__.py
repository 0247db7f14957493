"""The hospital's protocols: what arrives, and what goes back."""
