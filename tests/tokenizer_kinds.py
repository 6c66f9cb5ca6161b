"""Small tokenizers of every kind that public checkpoints have, trained on the spot."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

LINES = [
    "The cat sat on the mat.",
    "Q: What is 98 plus 45?\n\nA: 143",
    "naïve Größe, the end of the café",
    "Paris  is",
] * 6
# of Llama 3, from its tokenizer.json
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(name: str) -> Tokenizer:
    """GPT-2's kind: with NFC as NeoX, with a split of its own as Llama 3, with both as Qwen."""
    made = Tokenizer(models.BPE())
    if name in ("neox", "qwen"):
        made.normalizer = normalizers.NFC()
    if name in ("llama3", "qwen"):
        split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
        made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    end = "<|end_of_text|>" if name == "llama3" else "<|endoftext|>"
    specials = [end, "<|begin_of_text|>", "<|eot_id|>"] if name == "llama3" else [end]
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(LINES, trainer)
    made.post_processor = processors.ByteLevel(trim_offsets=name != "llama3")
    if name == "llama3":
        start = processors.TemplateProcessing(
            single="<|begin_of_text|> $A",
            pair="<|begin_of_text|> $A <|begin_of_text|> $B",
            special_tokens=[("<|begin_of_text|>", made.token_to_id("<|begin_of_text|>"))],
        )
        made.post_processor = processors.Sequence([made.post_processor, start])
    return made


def sentencepiece(name: str) -> Tokenizer:
    """BPE with byte fallback: Llama 2's normalizer, Mistral's pre-tokenizer, or Gemma's lack of a first space."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never" if name == "gemma" else "first")
    trained.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=130, show_progress=False))
    found = json.loads(trained.to_str())["model"]
    start, end = ("<bos>", "<eos>") if name == "gemma" else ("<s>", "</s>")
    texts = ["<unk>", start, end, *BYTES, *sorted(found["vocab"], key=found["vocab"].get)]
    vocabulary = {text: place for place, text in enumerate(texts)}
    model = models.BPE(
        vocab=vocabulary,
        merges=[tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in found["merges"]],
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    made = Tokenizer(model)
    if name == "llama2":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    if name == "mistral":
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    if name == "gemma":
        made.normalizer = normalizers.Replace(" ", "▁")
        made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    add_specials(made, start=start, end=end)
    made.decoder = spaced_decoder(strips=name != "gemma")
    if name == "gemma":
        made.add_tokens([AddedToken("▁▁", normalized=False)])
    return made


def unigram(name: str) -> Tokenizer:
    """Unigram with byte fallback, which takes neighbouring unknown characters as one."""
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    trained.train_from_iterator(LINES, trainer)
    pieces = [(text, score) for text, score in json.loads(trained.to_str())["model"]["vocab"] if text != "<unk>"]
    specials = [(text, 0.0) for text in ("<unk>", "<s>", "</s>", *BYTES)]
    made = Tokenizer(models.Unigram([*specials, *pieces], unk_id=0, byte_fallback=True))
    forms = [normalizers.NFKC()] if name == "unigram-nfkc" else []
    made.normalizer = normalizers.Sequence([*forms, normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    add_specials(made, start="<s>", end="</s>")
    made.decoder = spaced_decoder(strips=True)
    return made


def add_specials(made: Tokenizer, *, start: str, end: str) -> None:
    made.add_special_tokens(["<unk>", start, end])
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A {start} $B", special_tokens=[(start, made.token_to_id(start))]
    )


def spaced_decoder(*, strips: bool) -> decoders.Decoder:
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*parts, decoders.Strip(content=" ", left=1, right=0)] if strips else parts)


MADE = {
    **{name: byte_level(name) for name in ("gpt2", "neox", "llama3", "qwen")},
    **{name: sentencepiece(name) for name in ("llama2", "mistral", "gemma")},
    **{name: unigram(name) for name in ("unigram", "unigram-nfkc")},
}
# as the tokenizer_config.json of these families; a start that is not said here is in the post-processor
SETTINGS: dict[str, dict[str, object]] = {
    "gpt2": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
    "neox": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
    "llama3": {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
    "qwen": {"add_bos_token": False, "bos_token": None, "eos_token": "<|endoftext|>"},
    "llama2": {
        "bos_token": {"__type": "AddedToken", "content": "<s>"},
        "eos_token": {"__type": "AddedToken", "content": "</s>"},
    },
    "mistral": {"add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>"},
    "gemma": {"add_bos_token": True, "bos_token": "<bos>", "eos_token": "<eos>"},
    "unigram": {"bos_token": "<s>", "eos_token": "</s>"},
    "unigram-nfkc": {"bos_token": "<s>", "eos_token": "</s>"},
}


def save_kind(name: str, folder: Path, **settings: object) -> None:
    """Save a tokenizer as a checkpoint has it; `settings` change its tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    MADE[name].save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(SETTINGS[name] | settings))


def twin_of(folder: Path) -> PreTrainedTokenizerFast:
    """Load a saved tokenizer with transformers."""
    return PreTrainedTokenizerFast.from_pretrained(folder)
