#!/usr/bin/env bash
# The HAM10000 table of README.md. Usage: docs/ham10000.sh HAM10000_FOLDER OUT_FOLDER. The commands were run one by one, not as this script.
# Ours differs in one thing: the first run was stopped (SIGTERM) at step 248 of 1,200.
set -euo pipefail
ham=$1 out=$2
common="--flagfile=flags/laptop.flags --manual_dir=$ham --mixed_precision --keep_hub_module_max=0 --keep_checkpoint_max=1"
common="$common --color_jitter_strength=0 --grayscale_probability=0 --rotation_degrees=90" # chosen on train[85%:], see laptop.flags
pretrain="$common --mode=train --checkpoint_steps=100"
python run.py $pretrain --train_steps=250 --model_dir="$out/stage1"
python run.py $pretrain --train_steps=400 --checkpoint="$out/stage1" --model_dir="$out/stage2"
python run.py $pretrain --train_steps=200 --checkpoint="$out/stage2" --model_dir="$out/simclr"
python run.py $pretrain --train_steps=200 --checkpoint="$out/stage2" --model_dir="$out/micle" --micle

for arm in simclr micle; do # linear probe, beside the untrained encoder
  python run.py --mode=eval --model_dir="$out/$arm" --train_split='train[:85%]' --label_fraction=0.1 --eval_name=tenth
  python run.py --mode=eval --model_dir="$out/$arm" --train_split='train[:85%]' --eval_name=all
done
python run.py --mode=compare --runs="$out/simclr:tenth,$out/micle:tenth"

tune="$common --train_mode=finetune --optimizer=momentum --warmup_epochs=0 --weight_decay=0.0001 --class_weights=balanced"
tune="$tune --train_split=train[:85%] --selection_split=train[85%:] --checkpoint_steps=1000 --subgroups=none"
for arm in scratch simclr micle; do
  from=(); [ "$arm" = scratch ] || from=(--checkpoint="$out/$arm")
  python run.py $tune "${from[@]}" --model_dir="$out/tenth_$arm" --mode=sweep --label_fraction=0.1 --train_steps=80 \
    --sweep_learning_rates=0.1,0.4 --sweep_weight_decays=0.0001
  python run.py $tune "${from[@]}" --model_dir="$out/all_$arm" --learning_rate=0.1 --train_steps=120 # 0.1 was the best of each
done
python run.py --mode=compare --runs="$out/tenth_scratch,$out/tenth_simclr,$out/tenth_micle"
python run.py --mode=compare --runs="$out/all_scratch,$out/all_simclr,$out/all_micle"
