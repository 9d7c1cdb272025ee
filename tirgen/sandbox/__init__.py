"""The sandbox: runs model-written Python in a process that can harm nothing but itself."""
