"""The smallest possible crew: one agent, one task. crewpool fills in {name} at kickoff."""

from collections.abc import Mapping
from typing import Any

from crewai import Agent, Crew, Task


def create_crew(settings: Mapping[str, Any], llm: Any = None) -> Crew:  # noqa: ARG001  # {name}
    """Return a crew that greets somebody."""
    greeter = Agent(
        role="Greeter", goal="Greet people kindly", backstory="You like people.", llm=llm
    )
    greet = Task(
        description="Greet {name} in one friendly sentence.",
        expected_output='One sentence, such as "Hello, {name}! Welcome to crewpool."',
        agent=greeter,
    )
    return Crew(agents=[greeter], tasks=[greet])
