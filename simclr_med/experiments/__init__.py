"""Experiments: many runs from one command, each a complete run folder below `--model_dir`.

`runs` trains and evaluates one and never redoes what is finished; `repeats`, `sweep`,
`label_efficiency` and `study` say which runs there are and what is made of them. All runs happen in
this process, one after the other.
"""
