"""The sandbox: model-written Python, executed in a process that can harm nothing but itself."""
