"""Why the service could not be brought up; imports no Prefect, so that any command can."""


class ServiceFailed(Exception):
    """What went wrong, and what to do next."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}; {hint}")
        self.message = message
        self.hint = hint
