"""The TIR loop: sans-IO programs that reason and run code, and the driver that runs thousands."""
