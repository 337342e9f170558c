"""The second organism's body: LLaVA-1.5 in plain transformers classes, 8.8M parameters in six layers.

As in LLaVA-1.5 the decoder sees the CLIP tower's last layer but one, so that the tower's last layer, 0.8M of them, is
there and never used.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LlavaConfig, LlavaForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from finst.builtin.organism.architecture import D_HEAD, D_MODEL, HEADS, LAYERS, PATCH_PX
from finst.builtin.organism.lessons.training_scenes import CANVASES
from finst.builtin.organism.tokenizer import PLACES, word_tokenizer
from finst.scenes.object import Grid

VISION_LAYERS = 4
"""Three that the decoder sees the output of, and the last."""

ROPE_THETA = 10_000.0
"""Llama's own. All 16 frequencies count the same 1-D positions, and 10 of them turn by a radian or more within a
lesson's 280 tokens; Qwen2-VL's organism needs a small one because its columns get only the slow frequencies."""

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<image>")

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- 'USER: ' if message.role == 'user' else ' ASSISTANT: ' -}}"
    "{%- if message.content is string -%}{{- message.content -}}"
    "{%- else -%}{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}{{- '<image>\\n' -}}{%- else -%}{{- part.text -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{%- if message.role == 'assistant' -%}{{- '</s>' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- ' ASSISTANT:' -}}{%- endif -%}"
)


def build_config(tokenizer: PreTrainedTokenizerFast, layers: int = LAYERS) -> LlavaConfig:
    """The configuration for a vocabulary and so many decoder layers; widths in Llama's and CLIP's proportions."""
    return LlavaConfig(
        text_config=dict(
            model_type="llama",
            vocab_size=len(tokenizer),
            hidden_size=D_MODEL,
            intermediate_size=11008 * D_MODEL // 4096,
            num_hidden_layers=layers,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            head_dim=D_HEAD,
            max_position_embeddings=2048,
            rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=dict(
            model_type="clip_vision_model",
            hidden_size=D_MODEL,
            intermediate_size=4 * D_MODEL,
            num_hidden_layers=VISION_LAYERS,
            num_attention_heads=HEADS,
            image_size=PLACES * PATCH_PX,
            patch_size=PATCH_PX,
        ),
        image_token_index=tokenizer.get_vocab()["<image>"],
        image_seq_length=PLACES**2,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )


def sinusoids(rows: int, cols: int, width: int) -> Float[Tensor, "patch width"]:
    """Sines and cosines of a patch's row and column, at periods from 6 to 190 patches."""
    rates = 30.0 ** -torch.linspace(0, 1, width // 4)
    ys, xs = (torch.outer(torch.arange(count), rates) for count in (rows, cols))
    waves = [torch.cat([angles.sin(), angles.cos()], dim=1) for angles in (ys, xs)]
    return torch.cat([waves[0].repeat_interleave(cols, 0), waves[1].repeat(rows, 1)], dim=1)


def image_features(inner: Any, patches: Float[Tensor, "image patch values"]) -> Float[Tensor, "image patch d_model"]:
    """Embeddings of every image's patches; patch embedding is one matrix product, and the unused last layer is left."""
    tower = inner.vision_tower
    embeddings = tower.embeddings
    seen = F.linear(patches, embeddings.patch_embedding.weight.flatten(1))
    first = embeddings.class_embedding.to(seen.dtype).expand(len(seen), 1, -1)
    hidden = torch.cat([first, seen], dim=1) + embeddings.position_embedding.weight
    hidden = tower.pre_layrnorm(hidden)
    for layer in tower.encoder.layers[:-1]:
        hidden = layer(hidden, attention_mask=None)
    return inner.multi_modal_projector(hidden[:, 1:])


class Llava:
    """Every canvas resized to one square; positions counted plainly; keys and values for each head.

    Its image processor cuts the middle square out, so that canvases are square here.
    """

    name: str = "llava"
    title: str = "LLaVA-1.5"
    organism: str = "organism-llava"
    image_placeholder: str = "<image>"
    grids: tuple[Grid, ...] = tuple(grid for grid in CANVASES if grid.rows == grid.cols)
    side: int | None = PLACES * PATCH_PX
    image_features = staticmethod(image_features)

    def build_tokenizer(self) -> PreTrainedTokenizerFast:
        """Vicuna's turns; every text opens with ``<s>``, as Llama's."""
        return word_tokenizer(
            SPECIAL,
            ("USER", "ASSISTANT"),
            CHAT_TEMPLATE,
            bos_token="<s>",
            eos_token="</s>",
            pad_token="<pad>",
            unk_token="<unk>",
        )

    def build_model(self, tokenizer: PreTrainedTokenizerFast, layers: int = LAYERS) -> LlavaForConditionalGeneration:
        """The model with fresh random weights from torch's global generator, but for CLIP's position embeddings.

        These are learned from sinusoids of rows and columns on: CLIP's own, of a standard deviation of 0.02, would be
        lost beside the embedding of a white patch, which is about 2.
        """
        model = LlavaForConditionalGeneration(build_config(tokenizer, layers))
        tower: Any = model.model.vision_tower
        with torch.no_grad():
            tower.embeddings.position_embedding.weight[1:] = sinusoids(PLACES, PLACES, D_MODEL)
        return model

    def build_image_processor(self) -> CLIPImageProcessorPil:
        """Resizes by bicubic interpolation, as CLIP's does; of a canvas of that size it changes nothing."""
        side = PLACES * PATCH_PX
        return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})

    def tower_constants(self, model: Any, rows: int, cols: int) -> tuple[Tensor, ...]:
        """None: positions are weights."""
        return ()

    def position_ids(self, model: Any, input_ids: Int[Tensor, "1 pos"], rows: int, cols: int) -> Int[Tensor, "1 pos"]:
        """0, 1, 2, ..."""
        return torch.arange(input_ids.shape[1], device=input_ids.device)[None]
