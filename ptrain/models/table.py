"""The table of networks."""

from collections.abc import Mapping
from typing import Any

from ptrain.config import ModelConfig
from ptrain.models.base import Model
from ptrain.models.mlp import MLP

MODELS: dict[str, type[MLP]] = {"mlp": MLP}
"""Every network by its name."""


def make_model(config: ModelConfig, num_features: int, num_classes: int) -> Model:
    """Make the configured network for data of this width and number of classes."""
    return MODELS["mlp"].on(config, num_features, num_classes)


def model_of(config: ModelConfig, description: Mapping[str, Any]) -> Model:
    """Make the network of a run directory again, from its configuration and what was written of it."""
    return MODELS["mlp"].described(config, dict(description))
