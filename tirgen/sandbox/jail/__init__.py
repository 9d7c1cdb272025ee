"""What runs inside the zygote and its children: standard library only, started in isolation.

Nothing here imports from outside this package, so the zygote holds no code, configuration or secret
of the rest of the program.
"""
