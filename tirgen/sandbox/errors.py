"""Why there is no sandbox, or not this one any more.

SandboxError
 ├── SandboxUnavailable   nothing at or above the floor works on this machine
 ├── ZygoteFailed         a mode could not be started here
 ├── SelfTestFailed       a mode started, but did not hold what it must
 ├── SessionsFull         sessions hold all the memory they may together; close some, or wait
 └── ZygoteLost           the zygote ended with a snippet in flight; it may be run again

Only SandboxUnavailable and SessionsFull reach callers; the others are refusals on the way, or
become `infra_error` outcomes.
"""


class SandboxError(Exception):
    """Base of everything the sandbox can raise."""


class SandboxUnavailable(SandboxError):
    """Nothing at or above the floor works here; the message says what was tried and what to do."""


class ZygoteFailed(SandboxError):
    """A zygote could not be started in the mode asked for; the message says why."""


class SelfTestFailed(SandboxError):
    """A mode started but let something out, or stopped something innocent."""


class SessionsFull(SandboxError):
    """The sessions that are open hold all the memory that sessions may have together."""


class ZygoteLost(SandboxError):
    """The zygote ended while the snippet was in flight."""
