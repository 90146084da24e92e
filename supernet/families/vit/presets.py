"""Published spaces of this family, as data.

``autoformer_tiny`` is the smallest space of "AutoFormer: Searching Transformers for Visual Recognition"
(https://arxiv.org/abs/2107.00651, table 1): 12 to 14 blocks; embeddings of 192, 216 or 240; in each block 3 or 4 heads
of 64 channels, whatever the embedding, and an MLP of 3.5 or 4 times the embedding; images of 224 px. Patches are pooled
by their mean, as in the authors' recipe. It has 3 * (4^12 + 4^13 + 4^14) = 1,056,964,608 subnets, of 5,273,896 to
10,409,752 parameters with 1,000 classes; the table says 4 to 9 million, which may be those of the blocks alone (4.9 to
9.9 million). The authors' relative positions are not in timm's model, and left out.

timm's model has heads of 64 channels only where the embedding has 64 for each, so the model that is cut is as wide as
the authors' own supernet, 256, and its largest subnet is narrower than it.
"""

from typing import Any

_DEPTHS = [12, 13, 14]

PRESETS: dict[str, dict[str, Any]] = {
    "autoformer_tiny": {
        "family": "vit",
        "timm": "timm.models.VisionTransformer",
        "arguments": {
            "embed_dim": 256,
            "depth": _DEPTHS[-1],
            "num_heads": 4,
            "global_pool": "avg",
            "fc_norm": False,
        },
        "resolutions": [224],
        "stages": [
            {
                "depths": _DEPTHS,
                "blocks": [{"in_channels": 240, "expands": [3.5, 4], "heads": [3, 4]}] * _DEPTHS[-1],
            }
        ],
        "widths": {"0": [192, 216, 240]},
        "expand_of": "unrounded",
    }
}
