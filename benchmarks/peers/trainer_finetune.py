"""Fine-tuning a classifier with Transformers' Trainer, as its examples do it: defaults where nothing is said."""

import json

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

PACKAGES = {"torch": "torch", "transformers": "transformers", "accelerate": "accelerate"}
CONTENDERS = {"finetune": ("fp32", "bf16")}


class Examples(torch.utils.data.Dataset):
    def __init__(self, path, tokenizer, labels, max_length):
        with open(path, encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        pairs = [row["text_b"] for row in rows] if "text_b" in rows[0] else None
        self.encoded = tokenizer([row["text"] for row in rows], pairs, truncation=True, max_length=max_length)
        self.labels = [labels.index(row["label"]) for row in rows]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {**{name: values[index] for name, values in self.encoded.items()}, "labels": self.labels[index]}


def build_finetune(work):
    def finetune(number):
        tokenizer = AutoTokenizer.from_pretrained(work["model"])
        model = AutoModelForSequenceClassification.from_pretrained(work["model"], num_labels=len(work["labels"]))
        train = Examples(work["train"][min(number, 1)], tokenizer, work["labels"], work["length"])
        validation = Examples(work["validation"], tokenizer, work["labels"], work["length"])
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=f"{work['output']}/trainer-{work['variant']}",
                num_train_epochs=1,
                per_device_train_batch_size=work["batch"],
                learning_rate=1e-4,
                warmup_steps=0.1,
                bf16=work["variant"] == "bf16",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=train,
            eval_dataset=validation,
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=lambda result: {"accuracy": float((result[0].argmax(-1) == result[1]).mean())},
        )
        trainer.train()
        accuracy = trainer.evaluate()["eval_accuracy"]
        trainer.save_model()
        return accuracy

    return finetune
