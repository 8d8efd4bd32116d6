"""MetricGold: Marigold's denoising, of depth in metres (Shah et al.).

Sec. 3.2, eq. 1 to 3: metres become a picture by one logarithmic law for all.           -> coding.Codec
Sec. 3.2, eq. 4: first an autoencoder of its own for such pictures, from the image's.   -> autoencoder
Sec. 3.1, 3.2: then a UNet with two latents side by side denoises the depth's.          -> model
Sec. 4: 50 DDIM steps from ten noises, whose results become one.                        -> ensemble.metric
Beyond the paper: one step, trained end to end on the logarithm; the camera.            -> config

Symbols: x the picture's latent (the paper's z(x)), z and z_0 the depth's, noisy and clean, y its code
(d_log), epsilon the noise, v what is predicted. The released program is Marigold's with some lines changed,
and starts neither training nor prediction in metres.
"""

from leadline.methods.metricgold.config import Config
from leadline.methods.metricgold.model import MetricGold

__all__ = ["Config", "MetricGold"]
