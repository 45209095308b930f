"""The configuration: its sections, one converter for all values, TOML in and out, and flags made from the fields."""

from ptrain.config.sections import SECTIONS as SECTIONS
from ptrain.config.sections import Config as Config
from ptrain.config.sections import DataConfig as DataConfig
from ptrain.config.sections import ModelConfig as ModelConfig
from ptrain.config.sections import OptimizerConfig as OptimizerConfig
from ptrain.config.sections import RunConfig as RunConfig
from ptrain.config.sections import TrainConfig as TrainConfig
from ptrain.config.toml import build as build
from ptrain.config.toml import default_run_dir as default_run_dir
from ptrain.config.toml import differences as differences
from ptrain.config.toml import fields as fields
from ptrain.config.toml import from_dict as from_dict
from ptrain.config.toml import read_toml as read_toml
from ptrain.config.toml import sha256 as sha256
from ptrain.config.toml import to_dict as to_dict
from ptrain.config.toml import write_toml as write_toml
from ptrain.config.values import nearest as nearest
