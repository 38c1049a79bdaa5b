"""What PyTorch has no fused operator for, in C."""
