"""What the tests of the manager share with those of `fit`: small trainings in this process."""

from __future__ import annotations

from tests.keras.conftest import _one_process_checks_all_exports, run, trainings

__all__ = ["_one_process_checks_all_exports", "run", "trainings"]
