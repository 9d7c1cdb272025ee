"""The commands of ``tirgen``, one noun a file."""
