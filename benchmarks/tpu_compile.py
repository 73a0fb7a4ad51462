"""Compiles a program of step_program.py for TPUs, without one: needs only JAX and libtpu.

    python benchmarks/tpu_compile.py PROGRAM.npz v3:2x2

The program is compiled for all cores of that topology, one replica each. Prints one line of JSON, see
`compile_for`. libtpu contains the compiler of Cloud TPUs; it needs neither a TPU nor the network.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
import time

# Otherwise libtpu queries a TPU's host or the network for these. The topology overrides the type.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v3-8")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # two processes may compile at a time
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
from jax._src.interpreters import mlir
from jax.experimental import topologies
from jaxlib import xla_client
from jaxlib.mlir import ir
from step_program import load

_TOO_LARGE = (  # the memory that a program needs, and that available
    re.compile(r"\(([\d.]+)([MG])\) exceeds available HBM \(([\d.]+)([MG])\)"),
    re.compile(r"Used ([\d.]+)([MG]) of ([\d.]+)([MG]) hbm"),
)
_BYTES = {"M": 2**20, "G": 2**30}


def compile_for(hlo: bytes, topology: str) -> dict:
    """Returns the compiler's figures for a program.

    "chip", "cores"; "libtpu", its version; "fits"; "peak_bytes" of a core's memory, arguments included;
    "flops" of a core; "all_reduces", after the compiler combined some; "seconds" to compile. A program
    that is too large has no "flops" and no "all_reduces", but the available "hbm_bytes".

    Args:
      hlo: the program, see `step_program.load`.
      topology: such as "v4:2x2x1".

    Raises:
      jax.errors.JaxRuntimeError: the compiler rejects the program for another reason.
    """
    cores = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    options = xla_client.CompileOptions()
    options.num_replicas = len(cores)
    ids = np.array([core.id for core in cores])[:, np.newaxis]
    options.device_assignment = xla_client.DeviceAssignment.create(ids)
    report = {"chip": cores[0].device_kind.strip(), "cores": len(cores)}
    report["libtpu"] = importlib.metadata.version("libtpu")
    start = time.monotonic()
    try:
        compiled = cores[0].client.compile(
            stablehlo(hlo), xla_client.DeviceList(tuple(cores)), options
        )
    except jax.errors.JaxRuntimeError as error:
        matches = [match for form in _TOO_LARGE if (match := form.search(str(error)))]
        if not matches:
            raise
        used, used_unit, available, available_unit = matches[0].groups()
        report |= {"fits": False, "peak_bytes": round(float(used) * _BYTES[used_unit])}
        report["hbm_bytes"] = round(float(available) * _BYTES[available_unit])
    else:
        costs = compiled.cost_analysis()
        report |= {
            "fits": True,
            "peak_bytes": compiled.get_compiled_memory_stats().peak_memory_in_bytes,
            "flops": (costs[0] if isinstance(costs, list) else costs)["flops"],
            "all_reduces": len(
                re.findall(r" all-reduce(?:-start)?\(", compiled.hlo_modules()[0].to_string())
            ),
        }
    return report | {"seconds": round(time.monotonic() - start)}


def stablehlo(hlo: bytes) -> ir.Module:
    """Returns an HLO module as pure StableHLO.

    TensorFlow copies a program's results at its end, an operation that StableHLO does not have.
    """
    copies = []

    def visit(op):
        if op.name == "mhlo.copy":
            copies.append(op)
        return ir.WalkResult.ADVANCE

    with mlir.make_ir_context():
        module = ir.Module.parse(xla_client._xla.mlir.hlo_to_stablehlo(hlo))
        module.operation.walk(visit)
        for copy in copies:
            copy.results[0].replace_all_uses_with(copy.operands[0])
            copy.erase()
    return module


if __name__ == "__main__":
    print(json.dumps(compile_for(load(sys.argv[1])[0], sys.argv[2])))
