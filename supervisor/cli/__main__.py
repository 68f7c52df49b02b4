"""`python -m supervisor.cli`: the same as the command `crewpool`."""

from supervisor.cli import main

if __name__ == "__main__":
    main()
