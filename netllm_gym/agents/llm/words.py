"""What a backbone knows of words: the embedding its texts begin with, how large embeddings are, texts as embeddings.

The agent's tokens are no words. But a decoder that has only read texts expects one thing of whatever comes in: a first
token on which attention may rest. Without it every step becomes such a sink, and the steps grow alike (Xiao et al.,
"Efficient Streaming Language Models with Attention Sinks", ICLR 2024, describe the effect in texts). A task described
in words goes in by the same door.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from netllm_gym.agents.llm.gguf import GGUF
from netllm_gym.errors import ConfigError


class Words:
    """Embeddings of a backbone's vocabulary, read when they are asked for.

    Attributes:
        rms: root mean square of the embeddings.
    """

    rms: float = 1.0

    @property
    def start(self) -> Tensor | None:
        """Embedding of the token that texts begin with, float32 ``[width]``; ``None`` if the family has none."""
        return None

    def embed(self, text: str) -> Tensor:
        """Embeddings of the tokens of `text`, float32 ``[tokens, width]``."""
        raise NotImplementedError


class ByteWords(Words):
    """For weights that never read a text: a random vector per byte, the same in every process."""

    def __init__(self, width: int, rms: float) -> None:
        self.rms = rms
        self.table = rms * torch.randn(257, width, generator=torch.Generator().manual_seed(0))

    @property
    def start(self) -> Tensor:
        """The row after the bytes'."""
        return self.table[256].clone()

    def embed(self, text: str) -> Tensor:
        """Embed the bytes of the text in UTF-8."""
        return self.table[list(text.encode())].clone()


def gguf_tokenizer(gguf: GGUF) -> Any:
    """Build the byte-pair tokenizer that a GGUF file describes (SmolLM2's kind: digits one by one)."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    facts = gguf.metadata
    words, kinds = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ")) for pair in facts["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [word for word, kind in zip(words, kinds, strict=True) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in control])
    return tokenizer


class GGUFWords(Words):
    """The vocabulary of a GGUF file; rows of its table are read one by one."""

    _TABLE = "token_embd.weight"

    def __init__(self, gguf: GGUF, rms: float) -> None:
        self.gguf, self.rms = gguf, rms

    @property
    def start(self) -> Tensor | None:
        """Row of the file's ``bos_token_id`` (of token 1 where a file names none)."""
        return self._rows([int(self.gguf.metadata.get("tokenizer.ggml.bos_token_id", 1))])[0]

    @cached_property
    def tokenizer(self) -> Any:
        """Built once: the vocabulary takes seconds."""
        return gguf_tokenizer(self.gguf)

    def embed(self, text: str) -> Tensor:
        """Embed the text's tokens."""
        return self._rows(self.tokenizer.encode(text).ids)

    def _rows(self, numbers: list[int]) -> Tensor:
        return torch.from_numpy(self.gguf.rows(self._TABLE, numbers))


class TableWords(Words):
    """The vocabulary of a model of `transformers`, kept from when the model was loaded.

    Args:
        table: its input embeddings (called, because some families scale them).
        start: number of the token that texts begin with, if there is one.
        name: of the model, for its tokenizer.
    """

    def __init__(self, table: torch.nn.Module, start: int | None, name: str) -> None:
        self.table, self._start, self.name = table, start, name

    @cached_property
    def rms(self) -> float:  # type: ignore[override]
        """Of the first 4,096 embeddings, which are enough."""
        weight: Any = self.table.weight
        count = min(4096, len(weight))
        return float(self._rows(list(range(count))).pow(2).mean().sqrt())

    @property
    def start(self) -> Tensor | None:
        """Row of the start token."""
        return None if self._start is None else self._rows([self._start])[0]

    def embed(self, text: str) -> Tensor:
        """Embed the text's tokens.

        Raises:
            ConfigError: the model comes without a tokenizer.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(self.name)
        except (OSError, ValueError, ImportError, KeyError) as error:
            reason = str(error).strip().split("\n")[0]
            raise ConfigError(f"backbone {self.name}: a description in words needs its tokenizer ({reason})") from None
        return self._rows(tokenizer(text, add_special_tokens=False)["input_ids"])

    @torch.no_grad()
    def _rows(self, numbers: list[int]) -> Tensor:
        weight: Any = self.table.weight
        return self.table(torch.tensor(numbers, device=weight.device)).float().cpu()
