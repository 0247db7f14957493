"""ECGs, networks and what they find. Knows no patient."""
