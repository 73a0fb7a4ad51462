"""Runs a program for several replicas on as many virtual CPU devices: needs only JAX and NumPy.

    python benchmarks/tpu_virtual.py PROGRAM.npz RESULTS.npz REPLICAS

The replicas start from the weights of `step_program.draw`, and share the images that it draws for all of
them, split into consecutive parts. Writes "losses" [R] and, by the argument's number, each argument after
the step; fails if replicas end up with different weights.
"""

from __future__ import annotations

import os
import sys

os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={sys.argv[3]}"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxlib import xla_client
from step_program import LOSS, draw, load
from tpu_compile import stablehlo


def main() -> None:
    replicas = int(sys.argv[3])
    hlo, specification = load(sys.argv[1])
    devices = jax.devices()
    options = xla_client.CompileOptions()
    options.num_replicas = replicas
    ids = np.array([device.id for device in devices])[:, np.newaxis]
    options.device_assignment = xla_client.DeviceAssignment.create(ids)
    compiled = devices[0].client.compile_and_load(
        stablehlo(hlo), xla_client.DeviceList(tuple(devices)), options
    )
    mesh = jax.sharding.Mesh(np.array(devices), "replicas")
    whole, parts = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("replicas",)))
    arguments = []
    for i, argument in enumerate(specification["arguments"]):
        with jax.enable_x64(True):  # the step's number is an int64
            if argument["kind"] == "weights":
                arguments.append(jax.device_put(draw(argument, i), whole))
            else:
                b, *rest = argument["shape"]
                value = draw({**argument, "shape": [replicas * b, *rest]}, i)
                arguments.append(jax.device_put(value, parts))
    outputs = compiled.execute_sharded(arguments).disassemble_into_single_device_arrays()
    updated = {}
    for output, argument in specification["updates"]:
        values = [np.asarray(value) for value in outputs[output]]
        assert all(np.array_equal(values[0], value) for value in values), argument
        updated[str(argument)] = values[0]
    np.savez(sys.argv[2], losses=[float(value) for value in outputs[LOSS]], **updated)


if __name__ == "__main__":
    main()
