"""Tests of the run under faults: its rules, its plan, and a short run."""
