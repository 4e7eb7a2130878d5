"""electrify's step beside the original's own TensorFlow graph and optimizer.

The original (github.com/google-research/electra) needs TensorFlow 1.15, which no current Python runs. Its graph runs
under TensorFlow 2.15 in compatibility mode once the one function that it takes from `tf.contrib`, layer normalisation,
is put in its place. In an environment of its own:

    python3.11 -m venv tf && tf/bin/pip install 'tensorflow-cpu==2.15.*'
    pip download --no-deps arabert==1.0.1 && python -m zipfile -e arabert-1.0.1-py3-none-any.whl original/
    python benchmarks/by_hand/original_graph.py --python tf/bin/python --checkout original/electra

`build_step` runs in that environment, in turn with electrify's process: float32, ELECTRA-Small, full rows, the graph
of `run_pretraining.PretrainingModel` and `optimization.create_optimizer`; no estimator and no input pipeline.
"""

import argparse
import sys
import tempfile
import types
from pathlib import Path

import numpy as np


def normalize(tf, inputs, begin_norm_axis, begin_params_axis, scope=None):
    """Layer normalisation as `tf.contrib.layers.layer_norm` computes it: moments, then a batch normalisation."""
    assert begin_norm_axis == begin_params_axis == -1
    with tf.variable_scope(scope, "LayerNorm", reuse=tf.AUTO_REUSE if scope else None):
        size = inputs.shape[-1:]
        beta = tf.get_variable("beta", size, initializer=tf.zeros_initializer())
        gamma = tf.get_variable("gamma", size, initializer=tf.ones_initializer())
        mean, variance = tf.nn.moments(inputs, [-1], keep_dims=True)
        return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, 1e-12)


def build_step(work):
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    contrib, layers = types.ModuleType("tensorflow.contrib"), types.ModuleType("tensorflow.contrib.layers")
    layers.layer_norm = lambda **arguments: normalize(tf, **arguments)
    contrib.layers = layers
    sys.modules["tensorflow.contrib"], sys.modules["tensorflow.contrib.layers"] = contrib, layers
    sys.path.insert(0, work["variant"])
    import configure_pretraining
    import run_pretraining
    from model import optimization

    flat = np.load(work["rows"])
    rows = flat["ids"].reshape(-1, work["length"]).astype(np.int32)
    special = dict(zip(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), work["special_ids"], strict=True))
    vocabulary = [f"w{number}" for number in range(work["vocab_size"])]
    for token, number in special.items():
        vocabulary[number] = token
    with tempfile.TemporaryDirectory() as folder:
        config = configure_pretraining.PretrainingConfig(
            "small",
            folder,
            train_batch_size=work["batch"],
            max_seq_length=work["length"],
            vocab_size=work["vocab_size"],
            model_size="small",
            use_tpu=False,
            model_hparam_overrides={
                "hidden_dropout_prob": work["discriminator"]["hidden_dropout_prob"],
                "attention_probs_dropout_prob": work["discriminator"]["attention_probs_dropout_prob"],
            },
        )
        Path(config.vocab_file).write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        shape = (work["batch"], work["length"])
        input_ids = tf.placeholder(tf.int32, shape)
        features = {
            "input_ids": input_ids,
            "input_mask": tf.ones(shape, tf.int32),
            "segment_ids": tf.zeros(shape, tf.int32),
        }
        model = run_pretraining.PretrainingModel(config, features, True)
    train = optimization.create_optimizer(
        model.total_loss,
        config.learning_rate,
        config.num_train_steps,
        weight_decay_rate=config.weight_decay_rate,
        warmup_steps=config.num_warmup_steps,
        lr_decay_power=config.lr_decay_power,
    )
    session = tf.Session()
    session.run(tf.global_variables_initializer())

    def step(number):
        batch = rows[number * work["batch"] : (number + 1) * work["batch"]]
        _, loss, gen_loss = session.run([train, model.total_loss, model.mlm_output.loss], {input_ids: batch})
        return {"gen_loss": float(gen_loss), "disc_loss": float(loss - gen_loss) / 50}

    return step


def main():
    from electrify import progress
    from electrify.bench.peers import Contender
    from electrify.bench.step import bench_step
    from electrify.bench.table import head_lines, side_lines

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="interpreter that has TensorFlow")
    parser.add_argument("--checkout", required=True, type=Path, help="folder of the original's code")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=6, help="steps a turn; training takes them one after the other")
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    progress.enable()
    original = Contender("original", __file__, "build_step", str(arguments.checkout.resolve()), python=arguments.python)
    report = bench_step(
        "paper-small", batch=arguments.batch, rounds=arguments.rounds, steps=arguments.steps, others=[original]
    )
    print(
        *head_lines("A pre-training step", report.settings, report.versions, threads=report.measured[0].threads),
        sep="\n",
    )
    print(*side_lines(report.measured, report.missing, unit="real tokens/s"), sep="\n")
    print(*(f"{side.name}: {side.result}" for side in report.measured), sep="\n")


if __name__ == "__main__":
    main()
