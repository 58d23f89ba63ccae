"""Checkpoints for TensorFlow and Keras training that resumes exactly after any interruption.

`import ckptkit` does not import TensorFlow; the first use of a name that needs it does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "ckptkit.errors": (
        "BackgroundSaveError",
        "CheckpointError",
        "CheckpointNotFoundError",
        "ConfigError",
        "CorruptCheckpointError",
        "ExportError",
        "IncompatibleStateError",
        "Preempted",
        "RunLockedError",
        "StorageError",
    ),
    "ckptkit.position": ("RunPosition",),
    "ckptkit.policies.adaptive_saves": ("Adaptive",),
    "ckptkit.policies.save_policies": (
        "EveryNEpochs",
        "EveryNSeconds",
        "EveryNSteps",
        "OnBest",
        "SavePolicy",
    ),
    "ckptkit.policies.anchor_policies": ("AdaptiveAnchors", "AnchorEveryNBatches", "NoAnchors"),
    "ckptkit.policies.keep_policies": (
        "KeepBest",
        "KeepEveryNHours",
        "KeepEveryNSteps",
        "KeepLatest",
        "KeepPolicy",
    ),
    "ckptkit.policies.adopt": ("Adopt",),
    "ckptkit.policies.older_checkpoints": ("KeepOlder",),
    "ckptkit.policies.warm_start": ("WarmStart",),
    "ckptkit.preemption.policy": ("Preemption",),
    "ckptkit.report.run_view": ("Run", "open_run"),
    "ckptkit.run.checkpoint_catalog": ("Checkpoint",),
    "ckptkit.mirror.mirror_settings": ("Mirror",),
    "ckptkit.export.export_saved_model": ("export_saved_model",),
    "ckptkit.export.export_spec": ("ExportSpec",),
    "ckptkit.load.exported_model": ("ExportedModel", "load_exported"),
    "ckptkit.load.exported_signature": ("Signature",),
    "ckptkit.load.model_loading": ("load_model",),
    "ckptkit.load.weight_loading": ("WeightsReport", "load_weights"),
    "ckptkit.manager": ("CheckpointManager",),
    "ckptkit.manager.tensorflow_manager": ("TensorFlowManager",),
    "ckptkit.keras": ("CheckpointCallback",),
    "ckptkit.session.seeding": ("seeded",),
}
_NEED_KERAS = frozenset(
    {
        "ckptkit.export.export_saved_model",
        "ckptkit.keras",
        "ckptkit.load.model_loading",
        "ckptkit.load.weight_loading",
        "ckptkit.manager",
        "ckptkit.manager.tensorflow_manager",
        "ckptkit.session.seeding",
    }
)
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Adaptive",
    "AdaptiveAnchors",
    "Adopt",
    "AnchorEveryNBatches",
    "BackgroundSaveError",
    "Checkpoint",
    "CheckpointCallback",
    "CheckpointError",
    "CheckpointManager",
    "CheckpointNotFoundError",
    "ConfigError",
    "CorruptCheckpointError",
    "EveryNEpochs",
    "EveryNSeconds",
    "EveryNSteps",
    "ExportError",
    "ExportSpec",
    "ExportedModel",
    "IncompatibleStateError",
    "KeepBest",
    "KeepEveryNHours",
    "KeepEveryNSteps",
    "KeepLatest",
    "KeepOlder",
    "KeepPolicy",
    "Mirror",
    "NoAnchors",
    "OnBest",
    "Preempted",
    "Preemption",
    "Run",
    "RunLockedError",
    "RunPosition",
    "SavePolicy",
    "Signature",
    "StorageError",
    "TensorFlowManager",
    "WarmStart",
    "WeightsReport",
    "__version__",
    "export_saved_model",
    "load_exported",
    "load_model",
    "load_weights",
    "open_run",
    "seeded",
]

if TYPE_CHECKING:
    from ckptkit import data as data
    from ckptkit import testing as testing
    from ckptkit.errors import (
        BackgroundSaveError,
        CheckpointError,
        CheckpointNotFoundError,
        ConfigError,
        CorruptCheckpointError,
        ExportError,
        IncompatibleStateError,
        Preempted,
        RunLockedError,
        StorageError,
    )
    from ckptkit.export.export_saved_model import export_saved_model
    from ckptkit.export.export_spec import ExportSpec
    from ckptkit.keras import CheckpointCallback
    from ckptkit.load.exported_model import ExportedModel, load_exported
    from ckptkit.load.exported_signature import Signature
    from ckptkit.load.model_loading import load_model
    from ckptkit.load.weight_loading import WeightsReport, load_weights
    from ckptkit.manager import CheckpointManager
    from ckptkit.manager.tensorflow_manager import TensorFlowManager
    from ckptkit.mirror.mirror_settings import Mirror
    from ckptkit.policies.adaptive_saves import Adaptive
    from ckptkit.policies.adopt import Adopt
    from ckptkit.policies.anchor_policies import (
        AdaptiveAnchors,
        AnchorEveryNBatches,
        NoAnchors,
    )
    from ckptkit.policies.keep_policies import (
        KeepBest,
        KeepEveryNHours,
        KeepEveryNSteps,
        KeepLatest,
        KeepPolicy,
    )
    from ckptkit.policies.older_checkpoints import KeepOlder
    from ckptkit.policies.save_policies import (
        EveryNEpochs,
        EveryNSeconds,
        EveryNSteps,
        OnBest,
        SavePolicy,
    )
    from ckptkit.policies.warm_start import WarmStart
    from ckptkit.position import RunPosition
    from ckptkit.preemption.policy import Preemption
    from ckptkit.report.run_view import Run, open_run
    from ckptkit.run.checkpoint_catalog import Checkpoint
    from ckptkit.session.seeding import seeded

if not TYPE_CHECKING:
    # Hidden from type checkers, which would otherwise accept every misspelt name.

    def __getattr__(name: str) -> Any:
        if name in ("data", "testing"):
            return import_module(f"ckptkit.{name}")
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module 'ckptkit' has no attribute {name!r}")
        if home in _NEED_KERAS:
            # Checked before Keras is imported, because that import fails if another backend is
            # requested but not installed.
            import_module("ckptkit.keras_backend").check_keras_backend()
        value = getattr(import_module(home), name)
        # Python calls __getattr__ only for missing names, so the next access is a plain lookup.
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
