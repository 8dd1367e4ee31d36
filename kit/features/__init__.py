"""Transduction: unlabelled images help on cached features, with no gradient step.

`neighbours` finds and keeps the nearest images and lets opinions diffuse along them; `transclip` fits a mixture of
Gaussians with labelled anchors. `kit.models.heads.head` decides, for each fold, how much of either is taken.
"""
