"""The only place of a run where CrewAI is touched."""
