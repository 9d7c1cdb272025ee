"""The one rule of every socket that tirgen opens or starts, and the secrets behind it."""
