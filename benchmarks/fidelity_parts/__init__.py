"""The parts of the fidelity benchmark."""
