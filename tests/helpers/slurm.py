"""The environment of a task in a Slurm job step."""

SLURM = {
    "SLURM_PROCID": "2",
    "SLURM_STEP_NODELIST": "n[9-10]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_JOB_ID": "4711",
}
