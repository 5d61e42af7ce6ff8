"""The deploy graph: a camera's raw frame in, labels, metres and confidence out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safetrip_trainer.model.hydranet import MAX_DEPTH
from safetrip_trainer.model.preprocess import normalize, resize

__all__ = ["DeployGraph"]


class DeployGraph(nn.Module):
    """Everything between camera and prediction, so that no backend needs Python before or after it.

    Args:
        net: the trained net, a HydraNet or what computes as one; put into evaluation mode.
        size: (h, w) at which the net runs, and of the outputs.
    """

    def __init__(self, net: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.net = net.eval()
        self.size = size

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Runs one frame.

        Args:
            frame: (1, H, W, 3) uint8, BGR.

        Returns:
            labels (1, h, w) uint8, depth (1, h, w) float32 in metres, and confidence (1, h, w) uint8:
            255 times the largest class probability, computed at the net's own resolution (h/4, w/4).
        """
        # The cast comes first: TensorRT takes uint8 at an input, and nothing but a cast may read it.
        image = resize(frame.to(torch.float32).permute(0, 3, 1, 2), self.size)
        logits, depth = self.net(normalize(image.flip(1)))  # BGR to RGB where it costs least
        # TensorRT turns no INT32 into UINT8: the class index goes through a float.
        labels = resize(logits, self.size).argmax(dim=1).to(torch.float32).to(torch.uint8)
        certainty = F.softmax(logits, dim=1).amax(dim=1, keepdim=True)
        confidence = (resize(certainty, self.size) * 255.0 + 0.5).squeeze(1).to(torch.uint8)
        metres = resize(depth, self.size).squeeze(1) * MAX_DEPTH
        return labels, metres, confidence
