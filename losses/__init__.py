"""Floor 1: tensors in, scalars out. No torch.distributed, no device, no logging; one idea a file."""
