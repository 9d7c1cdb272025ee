"""Imports OpenVINO without its telemetry."""

from __future__ import annotations

import sys

# `import openvino` sends an event to Google Analytics and writes ~/intel/openvino_ga_cid.
# Without the telemetry module it uses its own stub.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402
import openvino_genai as genai  # noqa: E402

__all__ = ["genai", "ov"]
