"""agenthub against the raw floor and the field's peers, side by side in one run, as ratios: `python -m bench`."""
