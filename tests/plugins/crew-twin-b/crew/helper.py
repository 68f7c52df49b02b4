"""Says whose helper it is."""

NAME = "twin-b"
