"""How far a training job is, as it tells itself (`trainer.run.OnEvent`); imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Steps:
    """How far a training job is; `watch` is called after each change."""

    total: int = 0
    """Optimiser steps of the whole job; 0 while it loads."""
    done: int = 0
    last: dict[str, Any] = field(default_factory=dict)
    """What the trainer reported of the last step: loss, gradient norm and so on."""

    def hear(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "began":
                self.total, self.done = event["steps"], event["done"]
            case "step":
                self.done = event["step"]
                self.last = {name: value for name, value in event.items() if name != "event"}


Watch = Callable[[Steps], None]
