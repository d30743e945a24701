"""Names and severities of the corruptions in `corruptions`, without its slow imports."""

CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "motion_blur",
    "zoom_blur",
    "fog",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
)
"""Keys of `corruptions.CORRUPTIONS` by family."""
SEVERITIES = (1, 2, 3, 4, 5)
