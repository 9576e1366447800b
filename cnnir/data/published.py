"""Accuracies that others have published, for the picture of cost against accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """Top-1 accuracy on ImageNet's validation set in percent, one central crop, and who says so."""

    top1: float
    source: str


def _from(source: str, table: Mapping[str, float]) -> dict[str, Published]:
    return {name: Published(top1, source) for name, top1 in table.items()}


TOP1: Mapping[str, Published] = {
    **_from(
        "torchvision's table of weights, IMAGENET1K_V1",
        {
            "alexnet": 56.522,
            "vgg11": 69.020,
            "vgg11_bn": 70.370,
            "vgg13": 69.928,
            "vgg13_bn": 71.586,
            "vgg16": 71.592,
            "vgg16_bn": 73.360,
            "vgg19": 72.376,
            "vgg19_bn": 74.218,
            "resnet18": 69.758,
            "resnet34": 73.314,
            "resnet50": 76.130,
            "resnet101": 77.374,
            "resnet152": 78.312,
            "resnext50_32x4d": 77.618,
            "resnext101_32x8d": 79.312,
            "squeezenet1_0": 58.092,
            "squeezenet1_1": 58.178,
            "densenet121": 74.434,
            "densenet161": 77.138,
            "densenet169": 75.600,
            "densenet201": 76.896,
            "googlenet": 69.778,
            "inception_v3": 77.294,
            "mobilenet_v2": 71.878,
        },
    ),
    **_from(
        "Howard et al. 2017, MobileNets, arXiv 1704.04861, table 6",
        {"mobilenet_v1": 70.6, "mobilenet_v1_0.75": 68.4, "mobilenet_v1_0.5": 63.7, "mobilenet_v1_0.25": 50.6},
    ),
    **_from("Hu et al. 2018, Squeeze-and-Excitation Networks, arXiv 1709.01507, table 2", {"seresnet50": 76.71}),
    **_from("Chollet 2017, Xception, arXiv 1610.02357, table 1", {"xception": 79.0}),
    **_from(
        "Szegedy et al. 2016, Inception-v4, arXiv 1602.07261, table 2",
        {"bn_inception": 74.8, "inception_v4": 80.0, "inception_resnet_v2": 80.1},
    ),
    **_from("tensorflow/tpu, EfficientNet-lite", {"efficientnet_lite0": 75.1}),
    **_from("Caffe's model zoo, bvlc_reference_caffenet", {"caffenet": 57.4}),
    **_from("Caffe's model zoo, bvlc_alexnet", {"alexnet_2012": 57.1}),
    **_from("Caffe's model zoo, nin_imagenet, by the paper's authors", {"nin_imagenet": 59.36}),
    **_from(
        "ducha-aiki/caffenet-benchmark, the tables behind Mishkin et al. 2016, arXiv 1606.02228",
        {
            "caffenet128": 47.0,
            "caffenet128_no_lrn": 47.1,
            "caffenet128_bn_before": 47.8,
            "caffenet128_bn_after": 49.3,
            "caffenet128_elu": 48.8,
            "caffenet128_colour_vlrelu": 48.5,
            "caffenet128_maxavg": 48.3,
            "caffenet128_fcconv": 51.1,
        },
    ),
}
