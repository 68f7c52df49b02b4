"""What a client of the gateway got wrong is said in words that tell what would be right."""

import pytest
from pydantic import ValidationError

from supervisor.gateway.models import RunRequest
from worker.problems import rule


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"settings": [1]}, "must hold keys and values"),
        ({"user_id": 2**64}, "must be at most 18446744073709551615"),
        ({"at": "tomorrow"}, "must be a number in unix seconds, such as 1771000000"),
        ({"delay_s": 10**10}, "must be at most 1000000000"),
        ({"plugin_name": "../x"}, "must match ^[a-z0-9][a-z0-9_-]{0,63}$"),
    ],
)
def test_each_wrong_value_has_its_rule(wrong, told):
    with pytest.raises(ValidationError) as refused:
        RunRequest.model_validate({"plugin_name": "hello", "user_id": 1} | wrong)

    assert rule(refused.value.errors()[0]) == told
