"""Our encoder computes what timm's `VisionTransformer` without class token computes."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer

from jepakit.models import Encoder


@torch.no_grad()
def test_same_names_same_features() -> None:
    torch.manual_seed(0)
    settings = Encoder.Settings(size=None, width=24, depth=3, num_heads=3, patch=(8, 4))
    encoder = Encoder(settings, 5, (32, 24))
    for parameter in encoder.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.2)
    model = VisionTransformer(
        img_size=(32, 24),
        patch_size=(8, 4),
        in_chans=5,
        embed_dim=24,
        depth=3,
        num_heads=3,
        class_token=False,
        global_pool="avg",
        fc_norm=False,
        num_classes=0,
    ).eval()
    model.load_state_dict(encoder.state_dict(), strict=True)
    views = torch.randn(2, 5, 32, 24)
    theirs = model.forward_features(views)
    assert theirs.std() > 0.1
    torch.testing.assert_close(encoder(views), theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(encoder.pooled(views), model(views), rtol=1e-5, atol=1e-5)
    layers = model.forward_intermediates(
        views, indices=2, output_fmt="NLC", intermediates_only=True
    )
    torch.testing.assert_close(encoder.last_layers(views, 2)[0], layers[0], rtol=1e-5, atol=1e-5)
