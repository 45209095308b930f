"""torchmetrics imports torchvision where it is installed, and PyPI's build of that does not fit a CPU torch."""

from ptrain.data.sources.torchvision_sets import import_datasets

import_datasets()
