"""The workers as the supervisor sees them: spawned, assigned, overdue, killed, reaped."""
