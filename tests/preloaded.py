"""What processes that tests fork have imported."""

from __future__ import annotations

import gc
import importlib
import pkgutil

import agenthub.cli
import agenthub.client

gc.disable()
for package in (agenthub.cli, agenthub.client):
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
importlib.import_module("agenthub.runtime")
importlib.import_module("tests.test_failpoints")
gc.freeze()  # a process that looked through all this for garbage would need longer for it than for its work
gc.enable()
