"""Deep features as a prior: the losses of Jung et al. 2022, section 3.4, and the game against a discriminator.

A step trains both sides, each against the other as the step finds it: one backward pass gives the gradients of the
network that restores and, apart from them, those of the discriminator. So a step is taken by both or by neither, and a
run that is interrupted goes on exactly. The paper trains "alternately" and does not say in which order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fvdeblur.errors import UsageError
from fvdeblur.networks import DFPGnet, FeatureDiscriminator
from fvdeblur.networks.recognition import check_channels, open_recogniser
from fvdeblur.training.config import TrainConfig


def prior_loss(estimated: Sequence[Tensor], true: Sequence[Tensor]) -> Tensor:
    """Squared distance of features that are normalised along their channels: equation (9).

    The equation has the sum over the positions; here it is the mean over them and over the pictures, as in the
    distance of Zhang et al. 2018 that the paper follows, so that its weight of 1 does not depend on the picture's size.

    Parameters
    ----------
    estimated, true
        float [B, C, H, W] at each scale.

    Returns
    -------
    Scalar: the sum over the scales, 0 to 4 each.
    """
    parts = [
        (functional.normalize(one, dim=1) - functional.normalize(other, dim=1)).square().sum(dim=1).mean()
        for one, other in zip(estimated, true, strict=True)
    ]
    return torch.stack(parts).sum()


def make_discriminator(config: TrainConfig, network: nn.Module) -> FeatureDiscriminator | None:
    """The discriminator that the recipe asks for, None where it asks for none.

    Raises
    ------
    UsageError
        The network estimates no features.
    """
    if not config.prior_weight and not config.adversarial_weight:
        return None
    if not isinstance(network, DFPGnet) or not network.features:
        raise UsageError(
            "prior_weight and adversarial_weight are for a network that estimates deep features: "
            f"dfpgnet with network_options.features, not {config.network}"
        )
    if not config.adversarial_weight:
        return None
    return FeatureDiscriminator(network.features, config.discriminator_attention)


class FeaturePrior:
    """The losses on estimated deep features.

    Parameters
    ----------
    config
        The recipe.
    network
        The network in training.
    discriminator
        Its opponent; None: the prior loss alone, with all channels of the same weight.
    device
        Where they are.

    Raises
    ------
    InputError
        The weights of the recognition network cannot be read.
    UsageError
        Its features have other channels than those that the network estimates.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: DFPGnet,
        discriminator: FeatureDiscriminator | None,
        device: torch.device | str,
    ) -> None:
        self._config, self._discriminator = config, discriminator
        path = Path(config.data) / config.recogniser
        recogniser = open_recogniser(path)
        check_channels(recogniser, network.features, path)
        self._recogniser = recogniser.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(self, estimated: Sequence[Tensor], sharp: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What is added to the loss on pixels.

        Parameters
        ----------
        estimated
            Features that the network estimates from the blurred pictures, float [B, C, H, W] at each scale.
        sharp
            The truth, float [B, 3, H, W], R'G'B' in 0..1.

        Returns
        -------
        A scalar whose value is the weighted prior and adversarial loss (equation 10) and whose gradient is that of
        these in the network and that of equation (6) in the discriminator; the unweighted losses for the log.
        """
        estimated = [part.float() for part in estimated]
        with torch.no_grad():
            true = self._recogniser(sharp)
        opponent = self._discriminator
        if opponent is None:
            prior = prior_loss(estimated, true)
            return self._config.prior_weight * prior, {"prior_loss": prior.detach()}
        weighed, verdict = opponent(true)
        # Equation (6): what the discriminator learns from.
        found = functional.softplus(-verdict.float()).mean()
        found = found + functional.softplus(opponent([part.detach() for part in estimated])[1].float()).mean()
        # Equations (8) and (9): what the network learns from; the discriminator stands still.
        frozen = {name: value.detach() for name, value in opponent.named_parameters()}
        weighed_estimate, verdict = torch.func.functional_call(opponent, frozen, (estimated,))
        adversarial = functional.softplus(-verdict.float()).mean()
        prior = prior_loss(
            [part.float() for part in weighed_estimate], [part.detach().float() for part in weighed]
        )
        total = self._config.prior_weight * prior + self._config.adversarial_weight * adversarial
        figures = {"prior_loss": prior, "adversarial_loss": adversarial, "discriminator_loss": found}
        return total + (found - found.detach()), {name: value.detach() for name, value in figures.items()}
