"""Foreign names of a net's tensors -> ours: torchvision's, the public Hydranet's, wrappers around them."""

from __future__ import annotations

import re
from collections.abc import Container

__all__ = ["our_name"]

_WRAPPER = re.compile(r"^(?:module|model|net|_orig_mod|student|state_dict)\.")

# The public Light-Weight RefineNet / Hydranet names -> ours.
_RENAMES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^features\.", "encoder.features."),
        (r"^(?=\d+\.)", "encoder.features."),  # torchvision's `features` alone
        (r"^backbone\.features\.", "encoder.features."),
        (r"^conv3\.", "decoder.adapters.0."),
        (r"^conv4\.", "decoder.adapters.1."),
        (r"^conv5\.", "decoder.adapters.2."),
        (r"^conv6\.", "decoder.adapters.3."),
        (r"^conv7\.", "decoder.adapters.4."),
        (r"^conv8\.", "decoder.adapters.5."),
        (r"^crp4\.", "decoder.pools.0."),
        (r"^crp3\.", "decoder.pools.1."),
        (r"^crp2\.", "decoder.pools.2."),
        (r"^crp1\.", "decoder.pools.3."),
        (r"^conv_adapt4\.", "decoder.laterals.0."),
        (r"^conv_adapt3\.", "decoder.laterals.1."),
        (r"^conv_adapt2\.", "decoder.laterals.2."),
        (r"^pre_segm\.", "segmentation.pre."),
        (r"^segm\.", "segmentation.out."),
        (r"^pre_depth\.", "depth.pre."),
        (r"^depth\.(weight|bias)$", r"depth.out.\1"),
    )
)
# The public Hydranet's encoder is written out: `layer1` is the first convolution, `layerN.J.output.K` the
# K-th of expansion, depthwise and projection in the J-th block of a stage. torchvision counts blocks from 1.
_LAYER = re.compile(r"^(?:encoder\.)?layer([1-8])\.(\d.*)$")
_BLOCK = re.compile(r"^(\d+)\.output\.([0-2])\.([01])\.(\w+)$")
_PROJECTION = 2
_FIRST_BLOCK = {2: 1, 3: 2, 4: 4, 5: 7, 6: 11, 7: 14, 8: 17}
# CRP stages are named `1_outvar_dimred`, ... or `0.0`, ...; a convolution may sit in a Sequential.
_CRP_STAGE = re.compile(
    r"^(decoder\.pools\.\d)\.(?:mini_?blocks?\.)?(?:0\.)?(\d)_?(?:outvar_dimred)?\.(?:0\.)?(weight)$"
)
_SEQUENTIAL = re.compile(
    r"^(decoder\.(?:adapters|laterals)\.\d|(?:segmentation|depth)\.(?:pre|out))\.0\.(weight|bias)$"
)


def _of_layer(layer: int, rest: str) -> str:
    """Of what follows `layerN.`: our name, or one that we do not have."""
    if layer == 1:
        return f"encoder.features.0.{rest}"
    block = _BLOCK.match(rest)
    # torchvision's first block has no expansion.
    if block is None or (layer == 2 and block[2] == "0"):
        return f"layer{layer}.{rest}"
    number, step, part = (int(block[index]) for index in (1, 2, 3))
    place = step - 1 if layer == 2 else step
    # The projection is no Sequential there: its convolution and its normalisation count on.
    inner = f"{place + part}" if step == _PROJECTION else f"{place}.{part}"
    return f"encoder.features.{_FIRST_BLOCK[layer] + number}.conv.{inner}.{block[4]}"


def our_name(key: str, own: Container[str]) -> str:
    """What a foreign key is called here; a name that we do not have where nothing of ours has its role."""
    name, wrapped = key, 1
    # One wrapper at a time: a model's own first level may have a wrapper's name.
    while name not in own and wrapped:
        name, wrapped = _WRAPPER.subn("", name)
    if name in own:
        return name
    layer = _LAYER.match(name)
    if layer:
        return _of_layer(int(layer[1]), layer[2])
    for pattern, replacement in _RENAMES:
        name, count = pattern.subn(replacement, name)
        if count:
            break
    stage = _CRP_STAGE.match(name)
    if stage:
        index = int(stage[2]) - (1 if "outvar" in key else 0)
        return f"{stage[1]}.convs.{index}.{stage[3]}"
    return _SEQUENTIAL.sub(r"\1.\2", name)
