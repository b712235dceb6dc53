"""agenthub measured against the raw floor, side by side in one run, as ratios: `python -m bench`."""
