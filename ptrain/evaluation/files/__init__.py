"""Labels, predictions and class areas read from files that anybody wrote."""

from ptrain.evaluation.files.areas import read_areas as read_areas
from ptrain.evaluation.files.judged import Judged as Judged
from ptrain.evaluation.files.judged import read_judged as read_judged
