#!/usr/bin/env bash
# What --antialias does to AUC: one recipe with either rule, everything else alike. Usage: docs/antialias.sh HAM10000_FOLDER OUT_FOLDER
# HAM10000 at 64 px: 200 x 150 px are reduced about twofold. Some 15 minutes an arm on two cores.
set -euo pipefail
ham=$1 out=$2
common="--flagfile=flags/laptop.flags --manual_dir=$ham --mixed_precision --keep_hub_module_max=0 --keep_checkpoint_max=1"
common="$common --color_jitter_strength=0 --grayscale_probability=0 --rotation_degrees=90"
for rule in false true; do # false: SimCLR's own, bicubic without a low-pass filter, in training and evaluation
  python run.py $common --mode=train --train_steps=250 --antialias=$rule --model_dir="$out/$rule"
  python run.py --mode=eval --model_dir="$out/$rule" --train_split='train[:85%]' --label_fraction=0.1 --eval_name=tenth
  python run.py --mode=eval --model_dir="$out/$rule" --train_split='train[:85%]' --eval_name=all
done
python run.py --mode=compare --runs="$out/false:tenth,$out/true:tenth"
python run.py --mode=compare --runs="$out/false:all,$out/true:all"
