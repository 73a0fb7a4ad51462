"""Runs a program that step_program.py wrote, under JAX: needs only JAX and NumPy.

JAX has no public API for a program lowered elsewhere, so this uses jaxlib's client; tested with 0.11.2
and 0.12.0. The weights are donated at each call: their memory is used for the new ones.
"""

from __future__ import annotations

import jax
import numpy as np
from jaxlib import xla_client
from step_program import LOSS, draw, load


class Program:
    """A compiled program with its arguments on the first device; every call is one step.

    Attributes:
      values: the current arguments.
    """

    def __init__(self, path: str):
        self._hlo, specification = load(path)
        self._updates = specification["updates"]
        arguments = specification["arguments"]
        stablehlo = xla_client._xla.mlir.hlo_to_stablehlo(self._hlo)
        device = jax.devices()[0]
        devices = xla_client.DeviceList((device,))
        options = xla_client.CompileOptions()
        self._compiled = device.client.compile_and_load(stablehlo, devices, options)
        with jax.enable_x64(True):  # the step's number is an int64
            self.values = [
                jax.device_put(draw(argument, i), device) for i, argument in enumerate(arguments)
            ]

    def step(self) -> jax.Array:
        """Takes a step, which replaces the weights, and returns its loss, maybe not yet computed."""
        outputs = self._compiled.execute(self.values)
        for output, argument in self._updates:
            self.values[argument] = outputs[output]
        return outputs[LOSS]

    def updates(self) -> dict[int, np.ndarray]:
        """Returns {number: current value} of the arguments that a step changes."""
        return {argument: np.asarray(self.values[argument]) for _, argument in self._updates}

    def flops(self) -> float:
        """Returns the floating-point operations of a step, as XLA counts them.

        Counted before compilation: XLA does not count convolutions that became calls of cuDNN.
        """
        module = xla_client.XlaComputation(self._hlo).get_hlo_module()
        cpu = jax.devices("cpu")[0].client  # counts for any device
        return xla_client._xla.hlo_module_cost_analysis(cpu, module)["flops"]

    def device_bytes(self) -> int:
        """Returns the memory that the step needs on the device, arguments included, in bytes."""
        stats = self._compiled.get_compiled_memory_stats()
        arguments_and_outputs = stats.argument_size_in_bytes + stats.output_size_in_bytes
        return arguments_and_outputs - stats.alias_size_in_bytes + stats.temp_size_in_bytes
