"""A bounded run under faults with a checker: what was promised is counted, not believed.

`make chaos` starts an organization of real processes, sends it directives, kills, stops, cuts and floods whatever it
is made of, heals everything, and checks the history that all of them left behind. Begin with `run.py`; what must
hold is in `rules.py`, as pure functions.
"""
