"""What a campaign may ask of its producers is what `deeptool produce` takes.

hpc imports nothing of deeptool.codec, so it has lists of its own: here they are compared.
"""

from __future__ import annotations

from typing import get_args, get_type_hints

from deeptool.codec import CODECS, COMPRESSIONS, DEFAULT_CODEC
from hpc.campaign.definition import Producers


def test_codecs_and_compressions_are_the_same_in_both_packages() -> None:
    kinds = get_type_hints(Producers)
    assert get_args(kinds["codec"]) == tuple(CODECS)
    assert get_args(kinds["compression"]) == COMPRESSIONS
    assert Producers().codec == DEFAULT_CODEC
    assert Producers().compression in COMPRESSIONS
