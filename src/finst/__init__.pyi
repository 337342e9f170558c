# The names at the top of the package, and where each of them lives: type checkers and the lazy loader read this list.

from .analysis.comparisons import Comparison as Comparison
from .analysis.rsa import rsa as rsa
from .analysis.rsm import match as match
from .analysis.rsm import mean_of as mean_of
from .analysis.rsm import position as position
from .engine.attribution import attribution as attribution
from .engine.counterfactuals import counterfactuals as counterfactuals
from .engine.counterfactuals import observe as observe
from .engine.decode_steps import sustained as sustained
from .engine.edits import Edit as Edit
from .engine.edits import each_head as each_head
from .engine.edits import rows_from as rows_from
from .engine.edits import unedited as unedited
from .engine.generate import generate as generate
from .engine.head_sets import each_layer as each_layer
from .engine.head_sets import head_sets as head_sets
from .engine.reads import Read as Read
from .engine.reads import activations as activations
from .engine.record import record as record
from .errors import FinstError as FinstError
from .experiments.api import Run as Run
from .experiments.api import load as load
from .experiments.api import run as run
from .prompt_templates import prompt as prompt
from .prompts import Prompt as Prompt
from .prompts import colour_retrieval as colour_retrieval
from .prompts import scene_description as scene_description
from .prompts import spatial_relation as spatial_relation
from .runs.backends.open_backend import backend as backend
from .runs.experiment import Experiment as Experiment
from .runs.experiment import Report as Report
from .runs.experiment import Unit as Unit
from .scenes.designs import mediation_pairs as mediation_pairs
from .scenes.draw import draw as draw
from .scenes.object import Grid as Grid
from .scenes.object import Obj as Obj
from .scenes.object import Picture as Picture
from .scenes.object import Scene as Scene
from .scenes.object import on_grid as on_grid
from .scenes.own import picture as picture
from .scenes.renders.folder import read_sided as read_sided
from .vlm.encode import encode as encode
from .vlm.encode import first_tokens as first_tokens
from .vlm.open import open_reader as open_reader
from .vlm.open import open_vlm as open_vlm

__all__: list[str]
__version__: str
