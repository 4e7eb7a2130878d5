"""Write a tiny checkpoint of the original ELECTRA code, and what its graph computes, for tests/models/tensorflow.

It runs the original's own code with real TensorFlow, in an environment of its own; nothing of either is in this
repository or needed by the tests. What was used: TensorFlow 2.15.1 and
the original's files as the arabert 1.0.1 wheel carries them, their imports of TensorFlow edited back.

    python3.11 -m venv venv-tensorflow
    venv-tensorflow/bin/pip install tensorflow-cpu==2.15.1
    git clone https://github.com/google-research/electra
    venv-tensorflow/bin/python tests/support/make_tensorflow_fixture.py electra tests/models/tensorflow

Two checkpoints are made: `shared`, as the original trains by default (the generator has no table of its own, embeddings
are projected, Adam's means lie beside the weights), and `untied`, whose generator has a table of its own, without a
projection and with its tensors in a second data file. All weights are random, biases and norms too.
"""

import argparse
import sys
import types
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghij")]
SIZES = {
    "shared": {
        "embedding_size": 10,
        "generator_hidden_size": 0.5,
        "model_hparam_overrides": {
            "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32,
            "max_position_embeddings": 20,
        },
    },
    "untied": {
        "untied_generator_embeddings": True,
        "generator_layers": 0.5,
        "generator_hidden_size": 0.5,
        "model_size": "base",
        "embedding_size": 24,
        "model_hparam_overrides": {
            "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 16,
            "intermediate_size": 40,
        },
    },
}  # fmt: skip


def layer_norm(inputs, *, begin_norm_axis, begin_params_axis, scope):
    """Do what `tensorflow.contrib.layers.layer_norm` did, which TensorFlow 2 has not: same names, same epsilon."""
    assert begin_norm_axis == begin_params_axis == -1
    with tf.variable_scope(scope, "LayerNorm"):
        size = [inputs.shape[-1]]
        beta = tf.get_variable("beta", size, initializer=tf.zeros_initializer())
        gamma = tf.get_variable("gamma", size, initializer=tf.ones_initializer())
        mean, variance = tf.nn.moments(inputs, [-1], keepdims=True)
        return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, variance_epsilon=1e-12)


def import_original(checkout):
    contrib = types.ModuleType("tensorflow.contrib")
    contrib.layers = types.ModuleType("tensorflow.contrib.layers")
    contrib.layers.layer_norm = layer_norm
    sys.modules |= {"tensorflow.contrib": contrib, "tensorflow.contrib.layers": contrib.layers}
    sys.path.insert(0, str(checkout))
    import configure_pretraining
    import run_pretraining

    return configure_pretraining, run_pretraining


def rows():
    draw = np.random.default_rng(5)
    input_ids = draw.integers(5, len(WORDS), (3, 12)).astype(np.int32)
    lengths = np.array([[12], [9], [4]])
    input_mask = (np.arange(12) < lengths).astype(np.int32)
    segment_ids = ((np.arange(12) > 5) * input_mask).astype(np.int32)
    return input_ids * input_mask, input_mask, segment_ids


def write_checkpoint(name, modules, folder):
    configure, original = modules
    from model import optimization
    from pretrain import pretrain_data

    settings = {"vocab_size": len(WORDS), **SIZES[name]}
    config = configure.PretrainingConfig(name, str(folder), **settings)
    input_ids, input_mask, segment_ids = rows()
    places = np.tile(np.arange(12, dtype=np.int32), (3, 1))
    is_second = name == "untied"
    tf.reset_default_graph()
    tf.set_random_seed(7)
    with tf.device(lambda op: "/cpu:1" if is_second and op.name.startswith("generator") else "/cpu:0"):
        inputs = pretrain_data.Inputs(
            *(tf.constant(part) for part in (input_ids, input_mask, segment_ids, places, input_ids)),
            tf.constant(input_mask.astype(np.float32)),
        )
        model = object.__new__(original.PretrainingModel)  # its heads, on rows that are not masked at random
        model._config, model._bert_config = config, original.training_utils.get_bert_config(config)
        untied = config.untied_generator_embeddings
        generator = original.build_transformer(
            config, inputs, False, original.get_generator_config(config, model._bert_config),
            embedding_size=None if untied else config.embedding_size, untied_embeddings=untied, scope="generator",
        )  # fmt: skip
        gen_output = model._get_masked_lm_output(inputs, generator)
        discriminator = original.build_transformer(
            config, inputs, False, model._bert_config, reuse=False, embedding_size=config.embedding_size
        )
        disc_output = model._get_discriminator_output(inputs, discriminator, tf.constant(input_ids % 2))
        weights = tf.trainable_variables()
        if name == "shared":
            loss = gen_output.loss + 50 * disc_output.loss
            step = optimization.create_optimizer(loss, 1e-3, 100, weight_decay_rate=0.01, warmup_steps=1)
        start = [tf.assign_add(one, tf.random.normal(one.shape, stddev=0.15)) for one in weights]
    with tf.Session(config=tf.ConfigProto(device_count={"CPU": 2})) as session:
        session.run(tf.global_variables_initializer())
        session.run(start)
        for _ in range(2 if name == "shared" else 0):
            session.run(step)
        gen_logits, disc_logits = session.run([gen_output.logits, disc_output.probs.op.inputs[0]])
        tf.train.Saver(sharded=is_second).save(session, str(folder / "model.ckpt"), 2, write_meta_graph=False)
    np.savez(
        folder / "reference.npz", input_ids=input_ids, input_mask=input_mask, segment_ids=segment_ids,
        gen_logits=gen_logits, disc_logits=disc_logits,
    )  # fmt: skip
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="github.com/google-research/electra")
    parser.add_argument("output", type=Path, help="folder for `shared` and `untied`")
    arguments = parser.parse_args()
    tf.disable_eager_execution()
    modules = import_original(arguments.checkout.resolve())
    for name in SIZES:
        folder = arguments.output / name
        folder.mkdir(parents=True, exist_ok=True)
        write_checkpoint(name, modules, folder)


if __name__ == "__main__":
    main()
