"""Why a completion did not come back.

EngineError
 ├── EngineMisconfigured   no request can succeed: wrong address, model name or key
 │    └── EngineAbsent     nothing answers at the address, at the start
 ├── PublicationFailed     a running server could not be given another policy
 ├── EngineUnavailable     no answer through every retry: infrastructure, never the policy's fault
 └── EngineRefused         this one request was rejected (4xx): it ends its row, not the run
      └── ContextOverflow  prompt and max_tokens together exceed the model's context
"""


class EngineError(Exception):
    """Base of all errors of an engine; the message is one sentence with the next step."""


class EngineMisconfigured(EngineError):
    """No request can succeed until the configuration changes (exit code 4)."""


class EngineAbsent(EngineMisconfigured):
    """No server answers at this address; another replica may."""


class PublicationFailed(EngineError):
    """The server does not serve the new policy; the message says what it serves instead."""


class EngineUnavailable(EngineError):
    """The engine gave no usable answer in all tries."""


class EngineRefused(EngineError):
    """The engine refused this request, and would refuse it again."""


class ContextOverflow(EngineRefused):
    """The request is too long for the model's context window."""
