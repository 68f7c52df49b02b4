"""Returns outputs of every kind, also those that no JSON column would take."""

import json

from pydantic import BaseModel


class Answer(BaseModel):
    value: object


class Output:
    """As much of CrewAI's CrewOutput as the worker looks at."""

    def __init__(self, raw="", json_dict=None, pydantic=None):
        self.raw = raw
        self.json_dict = json_dict
        self.pydantic = pydantic


class Returns:
    def __init__(self, settings):
        self.value = settings.get("value", {"answer": 42})
        self.mode = settings.get("mode", "value")
        self.size_bytes = settings.get("size_bytes", 2_000_000)

    def kickoff(self, inputs):
        match self.mode:
            case "pydantic":
                return Output(pydantic=Answer(value=self.value))
            case "raw":
                return Output(raw=self.value)
            case "none":
                return None
            case "huge":
                return Output(raw="# Huge\n\n" + "x" * self.size_bytes)
            case "nan":
                return Output(json_dict={"nan": float("nan"), "inf": float("inf")})
            case "surrogate":
                return Output(raw="# Broken\n\nhalf a pair: \ud83d\n")
            case "nul":
                return Output(raw="# Zero\n\nbefore \x00 after\n")
        return Output(raw=json.dumps(self.value), json_dict=self.value)


def create_crew(settings):
    return Returns(settings)
