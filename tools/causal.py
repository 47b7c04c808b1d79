"""A causal language model's weights: loaded, checked, given LoRA matrices; GGUF made float."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from evokd.config import StudentSection
from evokd.errors import ConfigError
from evokd.store.files import replaced_folder, storage_errors
from evokd.tools.student import load_libraries
from evokd.tools.training import cannot_load, check_length, save_model, tokens_read

CONVERTED = "float16"
# Of what was read these keep something for every token, so that decoding can go back.
ATTENTIONS = {"full_attention", "sliding_attention", "chunked_attention"}


def load_causal(source: str) -> tuple[Any, Any]:
    """Load model and tokenizer of a hub id or a folder, in fp32; a GGUF file is made float first.

    Raises:
        ConfigError: they cannot be loaded.
    """
    from safetensors import SafetensorError

    _, transformers = load_libraries()
    folder = _loadable(source)
    tokenizer = load_tokenizer(source)
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    except (OSError, ValueError, SafetensorError) as error:  # the last: a file that was cut off
        raise cannot_load(source, error) from None
    return model, tokenizer


def load_tokenizer(source: str) -> Any:
    """Load the tokenizer of a hub id or a folder; a GGUF file is made float first.

    Raises:
        ConfigError: it cannot be loaded.
    """
    _, transformers = load_libraries()
    try:
        return transformers.AutoTokenizer.from_pretrained(_loadable(source))
    except (OSError, ValueError) as error:
        raise cannot_load(source, error) from None


def longest_read(source: str) -> int | None:
    """Return how many tokens the model of a hub id or a folder reads; None: it does not say.

    Raises:
        ConfigError: its config cannot be loaded.
    """
    _, transformers = load_libraries()
    try:
        config = transformers.AutoConfig.from_pretrained(_loadable(source))
    except (OSError, ValueError) as error:
        raise cannot_load(source, error) from None
    return tokens_read(config)


def check_causal(source: str, max_length: int) -> None:
    """Check that a student that reasons can be loaded, asked and trained, without its weights.

    Raises:
        ConfigError: it cannot, or it does not read texts of `max_length` tokens.
    """
    _, transformers = load_libraries()
    if _gguf_in(Path(source)):
        return
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise cannot_load(source, error) from None
    if getattr(config, "quantization_config", None):
        raise ConfigError(
            f"student.model: {source} holds quantised weights, which cannot be fine-tuned; give "
            "the model they were made of"
        )
    if type(config) not in transformers.AutoModelForCausalLM._model_mapping:
        raise ConfigError(
            f"student.model: {source} is no causal language model ({config.model_type}); "
            "task.kind reasoning needs one, such as local:smollm2-135m-instruct"
        )
    if reason := _cannot_go_on(config):
        raise ConfigError(
            f"student.model: {source} ({config.model_type}) {reason}, so that explanations cannot "
            "go on from each other's steps; give a transformer that reads from left to right, such "
            "as local:smollm2-135m-instruct"
        )
    check_length(config, source, max_length)
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"student.model: the tokenizer of {source} names no token that ends a text, so that no "
            "explanation would end; name it as eos_token in its tokenizer_config.json"
        )
    try:
        as_prompt(tokenizer, "Add.", "What is 3 plus 4?")
    except TemplateError as error:
        raise ConfigError(
            f"student.model: the chat template of {source} refuses a question: {error}; give a "
            "model whose template takes a user's turn"
        ) from None


def _cannot_go_on(config: Any) -> str:
    """Return why a model's decoding cannot go back to a step it has passed; '' where it can."""
    _, transformers = load_libraries()
    is_encoder = type(config) in transformers.AutoModelForMaskedLM._model_mapping
    if is_encoder and not getattr(config, "is_decoder", False):
        return "reads texts from both sides"
    architecture = transformers.AutoModelForCausalLM._model_mapping[type(config)]
    kinds = set(getattr(config, "layer_types", None) or ()) - ATTENTIONS
    if kinds or getattr(architecture, "_is_stateful", False):
        return "keeps a state in place of what it has read"
    return ""


def as_prompt(tokenizer: Any, told: str, asked: str) -> str:
    """Return a question as the model's chat template has it, after what the model is told.

    A template that refuses a turn of the system has both in the user's.

    Raises:
        TemplateError: it refuses that, too.
    """
    if not tokenizer.chat_template:
        return f"{told}\n\n{asked}\n\n"
    turns = [{"role": "system", "content": told}, {"role": "user", "content": asked}]
    try:
        return _rendered(tokenizer, turns)
    except TemplateError:
        return _rendered(tokenizer, [{"role": "user", "content": f"{told}\n\n{asked}"}])


def _rendered(tokenizer: Any, turns: list[dict[str, str]]) -> str:
    # A template that lets a model think first is asked not to: thoughts are no steps.
    text: str = tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    return text


def with_adapter(model: Any, folder: Path, *, trainable: bool = False) -> Any:
    """Return a model with the LoRA matrices of a folder."""
    from peft import PeftModel

    with _no_asides():
        return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)


def with_new_adapter(model: Any, settings: StudentSection) -> Any:
    """Return a model with fresh LoRA matrices on all linear layers (Hu et al., 2021).

    Raises:
        ConfigError: its layers take none.
    """
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=2 * settings.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        with _no_asides():
            return get_peft_model(model, lora)
    except ValueError as error:
        raise ConfigError(
            f"student.model: a {model.config.model_type} cannot be fine-tuned by LoRA ({error}); "
            "give a transformer, such as local:smollm2-135m-instruct"
        ) from None


def with_bf16_products(model: Any) -> None:
    """Keep the weights of a model's linear layers in bfloat16; all others stay as they are.

    Autocast makes them so for every product, which for a token at a time takes longer than the
    product itself. Embeddings that are linear layers, too, are kept twice.
    """
    torch, _ = load_libraries()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            weight = module.weight.detach().to(torch.bfloat16)
            module.weight = torch.nn.Parameter(weight, requires_grad=False)


@contextmanager
def _no_asides() -> Iterator[None]:
    """Keep from users what peft has yet to rename, and what it sets by itself (GPT-2's layers)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        yield


def _gguf_in(folder: Path) -> Path | None:
    """Return the GGUF file of a folder that holds nothing transformers could load."""
    if not folder.is_dir() or (folder / "config.json").exists():
        return None
    return next(iter(sorted(folder.glob("*.gguf"))), None)


def _loadable(source: str) -> str:
    """Return what transformers loads a hub id or a folder from."""
    return str(_as_float(Path(source))) if _gguf_in(Path(source)) else source


def _as_float(folder: Path) -> Path:
    """Return where the weights of a folder's GGUF file lie as float16, made once.

    Raises:
        ConfigError: transformers cannot read them.
    """
    from filelock import FileLock

    _, transformers = load_libraries()
    target = folder / CONVERTED
    with storage_errors(target), FileLock(folder / f".{CONVERTED}.lock"):
        if (target / "config.json").exists():
            return target
        file = _gguf_in(folder)
        assert file is not None
        try:
            with redirect_stderr(StringIO()):  # a progress bar that nothing turns off
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
                model = transformers.AutoModelForCausalLM.from_pretrained(
                    folder, gguf_file=file.name, dtype="float16"
                )
        except (OSError, ValueError, LookupError, NotImplementedError, struct.error) as error:
            raise cannot_load(str(file), error) from None
        model.hf_quantizer = None  # they are plain weights now
        model.is_quantized = False
        vars(model.config).pop("quantization_config", None)
        with replaced_folder(target) as beside:
            save_model(model, tokenizer, beside)
    return target
