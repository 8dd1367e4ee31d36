"""The task: what one prediction says, which decides what a model or a metric may be asked."""

from __future__ import annotations

from dataclasses import dataclass

from kit.core.names import MULTILABEL


@dataclass(frozen=True)
class Task:
    """Describe what is predicted.

    Parameters
    ----------
    name
        ``"multiclass"``: one class per image, or ``"multilabel"``: several labels, or none.
    has_hierarchy
        Whether it is known which class belongs to which group.
    """

    name: str
    has_hierarchy: bool = False

    @property
    def is_multilabel(self) -> bool:
        """Return whether an image may have several labels."""
        return self.name == MULTILABEL
