"""What a campaign may ask of its producers is what `deeptool produce` takes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from deeptool.client import topic_names
from deeptool.codec import CODECS, COMPRESSIONS
from hpc.campaign.definition import Producers
from hpc.campaign.uploads import variant_name


@pytest.mark.parametrize(("key", "names"), [("codec", CODECS), ("compression", COMPRESSIONS)])
def test_codecs_and_compressions_are_those_of_deeptool(key: str, names: list[str]) -> None:
    for name in names:
        assert getattr(Producers(**{key: name}), key) == name
    with pytest.raises(ValidationError, match=" or ".join(names)):
        Producers(**{key: "another"})


def test_a_variant_in_shards_has_one_name() -> None:
    assert variant_name("s", 3) == topic_names.variant_name("s", 3) == "s-v3"
