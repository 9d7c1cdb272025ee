"""The engine on this machine: a model folder as an OpenVINO graph behind vLLM's HTTP API."""
