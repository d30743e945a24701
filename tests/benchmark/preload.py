"""What `bench` imports on its way, for the process that its commands are forked from."""

from __future__ import annotations

import gc
import importlib
import os

from setproctitle import getproctitle

from benchmark.tracking.connection import quiet_environment

getproctitle()  # finds the memory of the title by the first environment

# Looked at when torch and MLflow are imported; a command has an environment of its own.
os.environ["OMP_NUM_THREADS"] = "1"
quiet_environment()

import mlflow  # noqa: E402
import mlflow.store.tracking.sqlalchemy_store  # noqa: E402, F401
import pandas as pd  # noqa: E402, F401

import benchmark.cli  # noqa: E402
import benchmark.engine.pipeline  # noqa: E402, F401
from clothclf.process import fork_client  # noqa: E402

for name in fork_client.PRELOAD:
    importlib.import_module(name)

# Forks then neither traverse nor copy the objects that exist now.
gc.collect()
gc.freeze()
