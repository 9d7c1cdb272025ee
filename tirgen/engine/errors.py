"""Why a completion did not come back.

EngineError
 ├── EngineMisconfigured   no request can succeed: wrong address, model name or key
 ├── PublicationFailed     a running server could not be given another policy
 ├── EngineUnavailable     out of reach through every retry: infrastructure, never the policy
 └── EngineRefused         this very request was rejected (4xx): a row of its own, not a crash
      └── ContextOverflow  prompt and max_tokens together exceed the model's context
"""


class EngineError(Exception):
    """Base of everything an engine can raise; the message is one sentence with the next step."""


class EngineMisconfigured(EngineError):
    """Nothing sent to this engine can succeed until the configuration changes (exit code 4)."""


class PublicationFailed(EngineError):
    """The server does not serve the policy it was to serve; the message says what it does."""


class EngineUnavailable(EngineError):
    """The engine did not answer usefully, however often it was asked."""


class EngineRefused(EngineError):
    """The engine refused this request; asking again would be refused again."""


class ContextOverflow(EngineRefused):
    """The request does not fit the model's context window; a shorter one would."""
