"""What a campaign may ask of its producers is what `deeptool produce` takes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from deeptool.codec import CODECS, COMPRESSIONS
from hpc.campaign.definition import Producers


@pytest.mark.parametrize(("key", "names"), [("codec", CODECS), ("compression", COMPRESSIONS)])
def test_codecs_and_compressions_are_those_of_deeptool(key: str, names: list[str]) -> None:
    for name in names:
        assert getattr(Producers(**{key: name}), key) == name
    with pytest.raises(ValidationError, match=" or ".join(names)):
        Producers(**{key: "another"})
