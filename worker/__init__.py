"""Runs one crew in a process of its own: run in, progress out, outcome out.

The supervisor starts this package as a program (`python -m worker.zygote`) and shares
four of its modules as vocabulary: protocol, plugins, errors and redact. Nothing in here
knows Redis or the supervisor.
"""
