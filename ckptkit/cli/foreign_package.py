"""Detects another project's package with the name ckptkit, which pip installs over this one.

The package index has a project `ckptkit` that inspects and converts checkpoint files. Its package
and its command have the same names as these, so `pip install ckptkit` replaces
`ckptkit/__init__.py` and leaves the other files. Its command then calls this package's `main`.
"""

from __future__ import annotations

from types import ModuleType


def complaint_about(package: ModuleType) -> str | None:
    """Return what is wrong if `import ckptkit` gives another project's package, else None.

    Args:
        package: the module `ckptkit` as imported.
    """
    # `__all__`, because an attribute would import TensorFlow.
    if "CheckpointManager" in getattr(package, "__all__", ()):
        return None
    owner = getattr(package, "__file__", None) or "the package of that name"
    return (
        f"another project with the name 'ckptkit' is in the way: {owner} belongs to it. This "
        "one is the distribution 'tf-ckptkit'. Run: pip uninstall --yes ckptkit tf-ckptkit, "
        "then, in a checkout of this one: pip install ."
    )
