"""The configuration: its sections, one converter for all values, TOML in and out, and flags made from the fields."""

from ptrain.config.sections import SECTIONS, Config, DataConfig, ModelConfig, OptimizerConfig, RunConfig, TrainConfig
from ptrain.config.toml import FIELDS, build, default_run_dir, differences, from_dict, read_toml, sha256, to_dict
from ptrain.config.toml import content_sha256 as content_sha256
from ptrain.config.toml import file_sha256 as file_sha256
from ptrain.config.toml import write_toml as write_toml
from ptrain.config.values import nearest as nearest

__all__ = ["SECTIONS", "Config", "DataConfig", "ModelConfig", "OptimizerConfig", "RunConfig", "TrainConfig"]
__all__ += ["FIELDS", "build", "default_run_dir", "differences", "from_dict", "read_toml", "sha256", "to_dict"]
