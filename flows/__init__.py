"""What runs when, where and with which limits; the ``tirgen`` command line."""
