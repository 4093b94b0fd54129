"""Networks under the names of the files that hold their trained weights.

`resnet` has torchvision's names, `gpt2` and `bert` have those of Hugging Face's transformers, so that
``model.load_state_dict(jitgrad.load(file))`` takes what is published.  Nothing is ever downloaded.
"""

from __future__ import annotations

from jitgrad.models.bert import BertConfig, BertModel
from jitgrad.models.gpt2 import GPT2Config, GPT2LMHeadModel, GPT2Model
from jitgrad.models.resnet import ResNet, resnet18, resnet34, resnet50

__all__ = [
    "BertConfig",
    "BertModel",
    "GPT2Config",
    "GPT2LMHeadModel",
    "GPT2Model",
    "ResNet",
    "resnet18",
    "resnet34",
    "resnet50",
]
