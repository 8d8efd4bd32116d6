"""Captioners and segmenters of transformers with a few thousand random weights, as folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = [
    "a",
    "photo",
    "of",
    "the",
    "red",
    "house",
    "on",
    "green",
    "grass",
    "with",
    "two",
    "trees",
    "above",
    "it",
]
CLASSES = {0: "wall", 1: "sky", 2: "tree", 3: "road", 4: "house"}
SIDE = 32  # pixels at which all of them work
IMAGES: dict[str, Any] = {"size": {"height": SIDE, "width": SIDE}}
WIDTH: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def blip(folder: Path) -> Path:
    """A captioner that reads no words by itself; its processor is a joint one."""
    text = {**WIDTH, "vocab_size": 32, "encoder_hidden_size": 16, "projection_dim": 8, "bos_token_id": 2}
    text |= {"eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0, "max_position_embeddings": 40}
    config = transformers.BlipConfig(
        text_config=text,
        vision_config={**WIDTH, "image_size": SIDE, "patch_size": 8, "projection_dim": 8},
        projection_dim=8,
        image_text_hidden_size=16,
    )
    images = transformers.BlipImageProcessorPil(**IMAGES)
    processor = transformers.BlipProcessor(images, tokenizer())
    return _save(folder, transformers.BlipForConditionalGeneration, config, processor)


def blip2(folder: Path) -> Path:
    """A captioner whose language model is a separate one that is shown the picture as words."""
    config = transformers.Blip2Config(
        vision_config={**WIDTH, "image_size": SIDE, "patch_size": 8},
        qformer_config={**WIDTH, "encoder_hidden_size": 16, "vocab_size": 32, "cross_attention_frequency": 1},
        text_config={
            **{
                "model_type": "opt",
                "vocab_size": 33,
                "hidden_size": 16,
                "ffn_dim": 32,
                "num_hidden_layers": 1,
            },
            **{"num_attention_heads": 2, "word_embed_proj_dim": 16, "max_position_embeddings": 64},
            **{"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0},
        },
        num_query_tokens=4,
        image_token_index=32,
    )
    words = tokenizer("<image>")
    processor = transformers.Blip2Processor(
        transformers.BlipImageProcessorPil(**IMAGES), words, num_query_tokens=4
    )
    return _save(folder, transformers.Blip2ForConditionalGeneration, config, processor)


def git(folder: Path) -> Path:
    """A captioner that goes on with the words it is given, and says them again."""
    vision = {**WIDTH, "image_size": SIDE, "patch_size": 8}
    more = {"vocab_size": 32, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = transformers.GitConfig(vision_config=vision, **WIDTH, **more, max_position_embeddings=64)
    images = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    return _save(folder, transformers.GitForCausalLM, config, transformers.GitProcessor(images, tokenizer()))


def segformer(folder: Path, classes: dict[int, str] = CLASSES) -> Path:
    """A segmenter that scores every class at every pixel."""
    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[4, 2],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        id2label=classes,
        label2id={name: number for number, name in classes.items()},
    )
    processor = transformers.SegformerImageProcessorPil(**IMAGES)
    return _save(folder, transformers.SegformerForSemanticSegmentation, config, processor)


def maskformer(folder: Path) -> Path:
    """A segmenter that scores masks, and classes of masks."""
    config = transformers.MaskFormerConfig(
        backbone_config=transformers.SwinConfig(
            image_size=2 * SIDE, embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=4,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        decoder_config=transformers.DetrConfig(
            d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16,
            encoder_attention_heads=2, decoder_attention_heads=2, num_queries=6, use_timm_backbone=False,
            backbone_config=transformers.SwinConfig(embed_dim=8, depths=[1], num_heads=[1]),
        ),
        fpn_feature_size=32,
        mask_feature_size=32,
        id2label=CLASSES,
        label2id={name: number for number, name in CLASSES.items()},
    )  # fmt: skip
    processor = transformers.MaskFormerImageProcessorPil(size={"height": 2 * SIDE, "width": 2 * SIDE})
    return _save(folder, transformers.MaskFormerForInstanceSegmentation, config, processor, std=0.3)


def tokenizer(*more: str) -> transformers.PreTrainedTokenizerFast:
    """Whole words by number: the four special ones first."""
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    known += [f"w{number}" for number in range(len(known), 32)] + list(more)
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(known)}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[CLS]",
        eos_token="[SEP]",
        additional_special_tokens=list(more) or None,
    )


def _save(folder: Path, kind: Any, config: Any, processor: Any, std: float = 1.0) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = kind(config)
        for weight in network.parameters():  # transformers' own first weights make all pictures look alike
            torch.nn.init.normal_(weight, std=std)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
