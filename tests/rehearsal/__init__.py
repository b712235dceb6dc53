"""Tests of the rehearsal model, over real HTTP with the real SDK."""
