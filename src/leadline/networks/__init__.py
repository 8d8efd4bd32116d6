"""Networks and wrappings that diffusers and transformers lack."""
