"""Training of HydraNet on images of which none has all labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from safetrip_trainer.classes import NUM_CLASSES
from safetrip_trainer.losses import (
    DepthGradientLoss,
    FixedBalance,
    FocalCrossEntropy,
    HardPixelCrossEntropy,
    InverseHuberLoss,
    ScaleInvariantLoss,
    SoftTargetLoss,
    UncertaintyBalance,
    WeightedCrossEntropy,
)
from safetrip_trainer.losses.reduction import TaskLoss
from safetrip_trainer.metrics import DepthMetrics
from safetrip_trainer.model.hydranet import MAX_DEPTH, MIN_DEPTH, HydraNet, HydraOutput
from safetrip_trainer.model.initialize import initialize_net
from safetrip_trainer.model.load import load_segmenter
from safetrip_trainer.model.preprocess import resize
from safetrip_trainer.quantize.net import QuantizedNet
from safetrip_trainer.settings import require_above, require_within
from safetrip_trainer.training.options import DepthOptions, DistillOptions, SegmentationOptions
from safetrip_trainer.training.task import Predicted, Task

__all__ = ["HydraTask"]

_GROUPS = {"segmentation": SegmentationOptions, "depth": DepthOptions, "distill": DistillOptions}


class HydraTask(Task):
    """The student: segmentation and depth together.

    Args:
        width_mult: width multiplier of the MobileNet-v2 encoder.
        decoder_channels: width of the decoder.
        init_weights: `auto` (ImageNet weights where the network is there), `random`, or a file:
            torchvision's mobilenet_v2, or the weights.safetensors of an earlier run to go on from.
        lr: peak learning rate.
        encoder_lr_factor: the encoder's peak learning rate as a share of `lr`.
        weight_decay: AdamW's.
        warmup_epochs: length of the linear warm-up.
        balance: `fixed` weights, or `uncertainty` (Kendall et al. 2018).
        segmentation_weight: of the fixed balance.
        depth_weight: of the fixed balance.
        berhu_threshold: where inverse Huber turns quadratic, on normalised depth.
        segmentation: how pixels of annotated classes count.
        depth: how distances are said and judged.
        distill: soft targets of a teacher.

    Raises:
        TrainerError: a setting has no meaning, such as a negative weight.
    """

    def __init__(
        self,
        width_mult: float = 1.0,
        decoder_channels: int = 256,
        init_weights: str = "auto",
        lr: float = 1e-3,
        encoder_lr_factor: float = 1.0,
        weight_decay: float = 1e-4,
        warmup_epochs: float = 5,
        balance: Literal["fixed", "uncertainty"] = "fixed",
        segmentation_weight: float = 0.5,
        depth_weight: float = 0.5,
        berhu_threshold: float = 0.1,
        segmentation: SegmentationOptions = SegmentationOptions(),  # noqa: B008 (frozen)
        depth: DepthOptions = DepthOptions(),  # noqa: B008 (frozen)
        distill: DistillOptions = DistillOptions(),  # noqa: B008 (frozen)
    ) -> None:
        for name, value in {
            "encoder_lr_factor": encoder_lr_factor,
            "segmentation_weight": segmentation_weight,
            "depth_weight": depth_weight,
            "depth.silog_weight": depth.silog_weight,
            "depth.gradient_weight": depth.gradient_weight,
            "distill.weight": distill.weight,
        }.items():
            require_within(f"model.init_args.{name}", value)
        require_within("model.init_args.depth.silog_share", depth.silog_share, 0, 1)
        require_above("model.init_args.berhu_threshold", berhu_threshold)
        net = HydraNet(width_mult=width_mult, decoder_channels=decoder_channels, depth_head=depth.head)
        super().__init__(net, lr, weight_decay, warmup_epochs, _segmentation_loss(segmentation))
        self.save_hyperparameters()
        # Plain values only: a checkpoint that held our classes could not be loaded with weights_only.
        self.hparams.update(segmentation=asdict(segmentation), depth=asdict(depth), distill=asdict(distill))
        self.init_weights = init_weights
        self.encoder_lr_factor = encoder_lr_factor
        lowest = MIN_DEPTH if depth.head == "log" else None
        self.depth_loss = InverseHuberLoss(berhu_threshold, MAX_DEPTH, lowest)
        # Terms of the depth loss besides inverse Huber, and their weights.
        self.depth_terms: list[tuple[float, nn.Module]] = [
            (depth.silog_weight, ScaleInvariantLoss(depth.silog_share, MAX_DEPTH)),
            (depth.gradient_weight, DepthGradientLoss(max_depth=MAX_DEPTH)),
        ]
        self.depth_metrics = DepthMetrics(MAX_DEPTH)
        self.distill = distill
        self.soft_target_loss = SoftTargetLoss(distill.temperature)
        # In a list: no part of the module, so that no checkpoint and no optimizer has its weights.
        self._teacher: list[nn.Module] = []
        self.balance: FixedBalance | UncertaintyBalance
        if balance == "fixed":
            self.balance = FixedBalance({"segmentation": segmentation_weight, "depth": depth_weight})
        else:
            self.balance = UncertaintyBalance(("segmentation", "depth"))

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":
            self._call_teacher()

    def on_fit_start(self) -> None:
        super().on_fit_start()
        # Not in `setup`: only now has Lightning restored a run that goes on, which has weights.
        if not self.goes_on and self.global_step == 0 and isinstance(self.net, HydraNet):
            self.start = initialize_net(self.net, self.init_weights)
        for teacher in self._teacher:
            teacher.to(self.device)

    def quantize(self, net: QuantizedNet) -> None:
        """Goes on with the INT8 net that `quantize_student` made of a trained student."""
        self.net = net.to(memory_format=torch.channels_last)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Loads a checkpoint's tensors; one of quantisation-aware training brings its own net along."""
        if QuantizedNet.is_in(state_dict) and not isinstance(self.net, QuantizedNet):
            self.quantize(QuantizedNet.from_state(state_dict))
        return super().load_state_dict(state_dict, strict, assign)

    def _call_teacher(self) -> None:
        if self.distill.teacher_ckpt and not self._teacher:
            teacher = load_segmenter(Path(self.distill.teacher_ckpt))[0].requires_grad_(False)
            self._teacher.append(teacher.to(memory_format=torch.channels_last))

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> HydraTask:
        """The task that a checkpoint's hyper-parameters describe, with random weights and its teacher."""
        plain = {key: value for key, value in settings.items() if not key.startswith("_")}
        for name, group in _GROUPS.items():
            plain[name] = group(**plain.get(name, {}))
        task = cls(**plain)
        task._call_teacher()
        return task

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The encoder at its own rate, and the rest."""
        if self.encoder_lr_factor == 1.0 or not isinstance(self.net, HydraNet):
            return super().parameter_groups()
        encoder = list(self.net.encoder.parameters())
        own = {id(parameter) for parameter in encoder}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in own]
        return [{"params": rest}, {"params": encoder, "lr": self.lr * self.encoder_lr_factor}]

    def task_losses(self, output: HydraOutput, batch: dict[str, Any]) -> dict[str, TaskLoss]:
        """Each task's loss over the pixels that have its label, be there any or none."""
        depth: TaskLoss = self.depth_loss(output.depth, batch["depth"])
        for weight, term in self.depth_terms:
            if weight:
                depth = depth._replace(value=depth.value + weight * term(output.depth, batch["depth"]).value)
        segmentation = self.segmentation_loss(output.logits, batch["labels"], batch.get("confidence"))
        return {"segmentation": segmentation, "depth": depth}

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The batch's losses by name; `total` is what is minimised."""
        output: HydraOutput = self(batch["image"])
        tasks = self.task_losses(output, batch)
        total: Tensor = self.balance(tasks)
        parts = {task: loss.value for task, loss in tasks.items()}
        for teacher in self._teacher:
            with torch.no_grad():
                targets = teacher(batch["image"].contiguous(memory_format=torch.channels_last))
            parts["distillation"] = self.soft_target_loss(output.logits, targets).value
            total = total + self.distill.weight * parts["distillation"]
        return {"total": total, **parts}

    def _planes(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        output: HydraOutput = self(batch["image"])
        size = batch["labels"].shape[-2:]
        depth = resize(output.depth.float(), size).squeeze(1) * MAX_DEPTH
        return self.labels_of(output.logits, size), depth

    def predict_step(self, batch: dict[str, Any], batch_index: int) -> Predicted:
        """A batch's labels and depth in metres."""
        return Predicted(*self._planes(batch))

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        labels, depth = self._planes(batch)
        self.segmentation_metrics.update(labels, batch["labels"])
        self.depth_metrics.update(depth, batch["depth"])

    def on_validation_epoch_end(self) -> None:
        segmentation, depth = self.log_segmentation(), self.depth_metrics.compute()
        self.depth_metrics.reset()
        for name in ("rmse", "mae", "abs_rel", "delta1"):
            if depth[name] is not None:
                self.log(f"val/{name}", depth[name], prog_bar=name == "delta1")
        # The best checkpoint is best at what the data can tell: the mean of the tasks that have labels.
        scores = [score for score in (segmentation["miou"], depth["delta1"]) if score is not None]
        self.log("val/score", sum(scores) / len(scores) if scores else 0.0)

    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end


def _segmentation_loss(options: SegmentationOptions) -> WeightedCrossEntropy:
    if options.loss == "ohem":
        return HardPixelCrossEntropy(NUM_CLASSES, options.ohem_keep)
    if options.loss == "focal":
        return FocalCrossEntropy(NUM_CLASSES, options.focal_gamma)
    return WeightedCrossEntropy(NUM_CLASSES)
