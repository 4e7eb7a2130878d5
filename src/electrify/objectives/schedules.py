"""Settings of an objective that move while it trains, as functions of how much of the run is done.

Progress is a share in [0, 1], of steps or of a time budget, as for the learning rate. Held-out rows are always masked
and sampled with the settings as they are without a schedule, so that figures of one run can be compared.
"""

from electrify.config import MaskingConfig, ObjectiveConfig


def masking_at(config: MaskingConfig, progress: float) -> MaskingConfig:
    """Return the masking at some progress: the share moves on a line from `mask_prob` to `mask_prob_end`."""
    if config.mask_prob_end is None:
        return config
    share = config.mask_prob + progress * (config.mask_prob_end - config.mask_prob)
    return config.model_copy(update={"mask_prob": share})


def objective_at(config: ObjectiveConfig, progress: float) -> ObjectiveConfig:
    """Return the objective at some progress.

    The discriminator's weight moves on a line from `disc_weight_start`; the temperature falls, or rises, by the same
    factor in every step from `temperature_start`, after Dong et al. 2024 (Fast-ELECTRA, arXiv 2310.07347), whose
    generator is frozen and whose samples begin easy to tell.
    """
    update = {}
    if config.disc_weight_start is not None:
        update["disc_weight"] = config.disc_weight_start + progress * (config.disc_weight - config.disc_weight_start)
    if config.temperature_start is not None:
        update["temperature"] = config.temperature * (config.temperature_start / config.temperature) ** (1 - progress)
    return config.model_copy(update=update) if update else config
