"""Says whose helper it is."""

NAME = "twin-a"
