"""Features: pixels and words become vectors, once, in a cache that all models share.

`weights` finds and checks what an encoder is made of; `encoders` loads open_clip and timm networks with their
preprocessing; `prompts` turns words per class into zero-shot weights; `cache` encodes the pool; `device` chooses device
and precision. Two rooms use unlabelled images on cached features, without a gradient step: `neighbours` spreads
predictions to the nearest images, `transclip` fits a mixture of Gaussians; `kit.models.heads.head` decides how much.
"""
