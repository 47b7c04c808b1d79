"""A text classifier that reads the mean of its encoder's token vectors.

Sentence encoders are pretrained on that mean, so that it tells texts apart before any training; the
first token's vector, which most `transformers` classifiers read, has learned nothing of the kind.

This file is saved in the folder of every such student, so that plain `transformers` loads it with
`trust_remote_code=True`. It therefore imports nothing but torch and transformers.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

SCALE = 16.0  # of the mean, whose length is set to it: about what a hidden state's is
DROPOUT = 0.1
SHARPNESS = 8.0  # logits of a new head: so many times the cosine to a label's centroid


class MeanPoolingConfig(PretrainedConfig):  # type: ignore[misc]
    """What the classifier is made of.

    Args:
        encoder: the config of the encoder, as a dict.
    """

    model_type = "evokd_mean_pooling"

    def __init__(self, encoder: dict[str, Any] | None = None, **rest: Any) -> None:
        super().__init__(**rest)
        self.encoder = encoder or {}


class MeanPoolingClassifier(PreTrainedModel):  # type: ignore[misc]
    """Encoder, mean over the tokens that are no padding, set to one length, linear layer."""

    config_class = MeanPoolingConfig
    base_model_prefix = "encoder"
    supports_gradient_checkpointing: ClassVar[bool] = False

    def __init__(self, config: MeanPoolingConfig, encoder: Any = None) -> None:
        super().__init__(config)
        if encoder is None:
            known = dict(config.encoder)
            encoder = AutoModel.from_config(AutoConfig.for_model(known.pop("model_type"), **known))
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # reads the first token
        self.encoder = encoder
        self.dropout = torch.nn.Dropout(DROPOUT)
        self.classifier = torch.nn.Linear(encoder.config.hidden_size, config.num_labels)
        self.is_new = False
        self.post_init()

    @classmethod
    def on(cls, encoder: Any, **config: Any) -> MeanPoolingClassifier:
        """Return an untrained classifier on a pretrained encoder."""
        known = encoder.config.to_dict()
        known.pop("_name_or_path", None)  # a folder of this machine
        model = cls(MeanPoolingConfig(encoder=known, **config), encoder)
        model.is_new = True
        return model

    def imprint(self, means: Any, targets: Any) -> None:
        """Set the head to the labels' centroids: imprinted weights (Qi et al., CVPR 2018).

        Args:
            means: one vector of `embed` a row, shape (rows, hidden).
            targets: the rows' labels, shape (rows,). A label without rows gets the zero vector.
        """
        sums = torch.zeros_like(self.classifier.weight)
        sums.index_add_(0, targets, means.to(sums.dtype))
        centroids = torch.nn.functional.normalize(sums, dim=-1)
        with torch.no_grad():
            weights = (centroids - centroids.mean(0)) * SHARPNESS / SCALE
            self.classifier.weight.copy_(weights * (centroids.norm(dim=-1, keepdim=True) > 0))
            self.classifier.bias.zero_()

    def embed(self, input_ids: Any, attention_mask: Any = None, **rest: Any) -> Any:
        """Return the texts' means, set to the length SCALE, shape (texts, hidden)."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **rest)
        kept = attention_mask.unsqueeze(-1).float()
        mean = (hidden.last_hidden_state.float() * kept).sum(1) / kept.sum(1).clamp(min=1.0)
        return torch.nn.functional.normalize(mean, dim=-1) * SCALE

    def forward(
        self, input_ids: Any, attention_mask: Any = None, labels: Any = None, **rest: Any
    ) -> SequenceClassifierOutput:
        """Return logits of shape (texts, labels), and the loss where labels are given."""
        rest.pop("return_dict", None)
        logits = self.classifier(self.dropout(self.embed(input_ids, attention_mask, **rest)))
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


AutoConfig.register(MeanPoolingConfig.model_type, MeanPoolingConfig, exist_ok=True)
AutoModelForSequenceClassification.register(MeanPoolingConfig, MeanPoolingClassifier, exist_ok=True)
MeanPoolingConfig.register_for_auto_class()
MeanPoolingClassifier.register_for_auto_class("AutoModelForSequenceClassification")
