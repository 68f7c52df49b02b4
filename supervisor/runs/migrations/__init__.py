"""How the tables came to be, a step a file; run by schema.py.

A new step is a file in versions/ with the next four digits, written by hand, and HEAD here.
`tests/records/test_schema.py` says where it and models.py differ, on both databases.
"""

HEAD = "0002"
"""The version that models.py describes."""
# An application may keep its own tables in the same database, with an Alembic of its own.
VERSION_TABLE = "crewpool_version"
