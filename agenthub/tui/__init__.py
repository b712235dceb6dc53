"""The terminal UI: a client like any other. It owns no state and may be killed at any time and run many times."""
