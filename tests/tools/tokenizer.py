"""Writes tests/fixtures/tokenizer: a small SentencePiece model in the released layout and the ids that the released
tokenizer's own code gives.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install transformers==4.41.0 sentencepiece "protobuf<5" "numpy<2"
    /tmp/venv/bin/python tests/tools/tokenizer.py tests/fixtures/tokenizer

transformers 4.41.0 is the version that the authors pin; later ones have no slow tokenizer. The vocabulary is trained on
the sentences below, so nothing of the released model is in it.
"""

import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

import sentencepiece
from transformers import LlamaTokenizer

THINGS = "horse dog person car bicycle ball bird cat boat truck child woman man cup bottle hat shoe phone".split()
COLOURS = "red green blue yellow black white brown orange small large tall striped".split()
DOING = ["jumping over the fence", "running to the left", "standing still", "holding a cup", "riding a bicycle",
         "sitting on the bench", "turning around", "next to the tree", "in the middle of the street"]
CORPUS = [f"What is the {c} {t} {d} in this video? Please respond with segmentation masks." for t in THINGS
          for c in COLOURS for d in DOING]
CORPUS += ["You are a helpful AI assistant.", "It is.", "Sure, it is.", "They are.",
           "Please locate the person who was holding the ball in this video.",
           "Can you segment all the birds that fly away? There are three of them."] * 40

# As Phi-3's: (text, swallows white space behind it).
ADDED = [("<|endoftext|>", False), ("<|assistant|>", True), ("<|placeholder1|>", True), ("<|end|>", True),
         ("<|system|>", True), ("<|user|>", True)]

TEXTS = [
    "", " ", "  ", "\n", "a", " a", "a ", "the red horse", "  the  red   horse  ", "The Horse!", "horse\njumping",
    "\n\nhorse", "naïve café", "лошадь", "馬が走る", "🐎 the horse", "a▁b", "▁a", "x" * 40, "12345 6.7",
    "<|end|>", "<|end|>\n", "<|user|>\nhorse<|end|>\n<|assistant|>\n", "horse<|end|>horse", "horse <|end|> horse",
    "[SEG]", "[BOX] [SEG].", "It is [BOX] [SEG].", "It is [BOX][SEG].", " [SEG] ", "<s>", "</s> a", "<unk>a", "<unk>",
    "\t tab", "<|endoftext|> x", "[seg]", "<|system|>\nYou are a helpful AI assistant.<|end|>\n<|user|>\n",
    "\nWhat is the red horse in this video? Please respond with segmentation masks.<|end|>\n<|assistant|>\n",
]


def train():
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=out, model_type="bpe", vocab_size=600, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True,
        character_coverage=1.0, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, split_digits=True,
        allow_whitespace_only_pieces=True, num_threads=1, minloglevel=2)
    return out.getvalue()


def base(folder, legacy, listed):
    """A folder as Phi-3's: its added tokens are special, but its map of special tokens does not list them."""
    added = {0: ("<unk>", False), 1: ("<s>", False), 2: ("</s>", True)}
    added |= {600 + i: token for i, token in enumerate(ADDED)}
    decoder = {str(i): {"content": text, "lstrip": False, "normalized": False, "rstrip": rstrip, "single_word": False,
                        "special": True} for i, (text, rstrip) in added.items()}
    config = {"add_bos_token": True, "add_eos_token": False, "added_tokens_decoder": decoder, "bos_token": "<s>",
              "clean_up_tokenization_spaces": False, "eos_token": "<|endoftext|>", "legacy": legacy,
              "model_max_length": 4096, "pad_token": "<|endoftext|>", "sp_model_kwargs": {},
              "tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>"}
    if listed:
        config["additional_special_tokens"] = [text for text, _ in ADDED]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def tokenizer(folder, model, legacy, listed):
    folder.mkdir()
    shutil.copy(model, folder / "tokenizer.model")
    base(folder, legacy, listed)
    t = LlamaTokenizer.from_pretrained(folder)
    # As the released program adds them: ordinary tokens.
    t.pad_token = t.unk_token
    t.add_tokens("[SEG]")
    t.add_tokens("[BOX]")
    return t


def prompt_ids(t, prompt):
    """The chunk rule: split at placeholders, read each chunk on its own, drop every beginning but the first."""
    ids, rest, first = [], prompt, True
    while rest:
        places = [(rest.find(p), p, i) for p, i in (("<image>", -200), ("<tsf>", -201)) if p in rest]
        at, placeholder, number = min(places) if places else (len(rest), "", None)
        chunk, rest = rest[:at], rest[at + len(placeholder):]
        if chunk:
            new = t(chunk).input_ids
            if not first and new and new[0] == t.bos_token_id:
                new = new[1:]
            ids += new
            first = False
        if number is not None:
            ids.append(number)
    return ids


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    golden = {"texts": TEXTS}
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary) / "tokenizer.model"
        model.write_bytes(train())
        for name, legacy, listed in (("current", False, False), ("listed", False, True), ("legacy", True, False)):
            t = tokenizer(Path(temporary) / name, model, legacy, listed)
            golden[name] = [t(text, add_special_tokens=False).input_ids for text in TEXTS]
            if name == "current":
                saved = Path(temporary) / "saved"
                t.save_pretrained(saved)
                for file in ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
                    shutil.copy(saved / file, folder / file)
                # What a user loads is what was saved.
                t = LlamaTokenizer.from_pretrained(saved)
                assert golden[name] == [t(text, add_special_tokens=False).input_ids for text in TEXTS]
                golden["decoded"] = [t.decode(ids) for ids in golden[name]]
                system = "<|system|>\nYou are a helpful AI assistant.<|end|>\n<|user|>\n"
                question = "\nWhat is the red horse in this video? Please respond with segmentation masks."
                tail = "<|end|>\n<|assistant|>\n"
                golden["prompts"] = {
                    "video": prompt_ids(t, system + "<image>" * 16 + question + tail),
                    "image": prompt_ids(t, system + "<image>" + question + tail),
                    "video_tsf": prompt_ids(t, system + "<image>" * 16 + question + "\n" + "<tsf>" * 16 + tail),
                }
                golden["length"] = len(t)
                golden["seg"], golden["box"] = t.convert_tokens_to_ids(["[SEG]", "[BOX]"])
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
