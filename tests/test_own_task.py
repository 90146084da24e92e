"""The page docs/own_task.md does what it says."""

import re
from pathlib import Path

import timm
import torch

PAGE = Path(__file__).parents[1] / "docs" / "own_task.md"


def test_the_page_trains_a_segmentation_head_on_an_elastic_backbone():
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)

    # Guessing finds a third of the shapes' pixels, and calling everything background none.
    assert names["score"](names["best"]) > 0.7
    assert names["macs"].predict(names["space"].encode(names["best"])[None])[0] <= names["limit"]

    # The found backbone is timm's own; its features are those of timm's ``features_only``, as the page says.
    best = names["found"].backbone
    assert isinstance(best, timm.models.MobileNetV3)
    listed = timm.models.FeatureListNet(best, range(len(best.feature_info)), flatten_sequential=True).eval()
    images, _ = names["shapes"](2, names["best"].resolution, names["rng"])
    with torch.no_grad():
        maps = best.forward_intermediates(images, intermediates_only=True)
        assert all(map(torch.equal, listed(images), maps))
    assert [one.shape[1] for one in maps] == names["channels"]
