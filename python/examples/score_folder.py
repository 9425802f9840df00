#!/usr/bin/env python3
"""Scores a folder of images with Ray Data, on this machine: python score_folder.py MODEL.onnx PHOTOS/ SCORES/

SCORES/ gets Parquet files with a row for each image: its path, the model's outputs, and what is wrong with it.
"""

import argparse

import ray

from cardinal_ml.ray import Scorer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model')
    parser.add_argument('photos')
    parser.add_argument('scores')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--cache-dir')
    args = parser.parse_args()
    ray.init(num_cpus=args.workers + 1)
    rows = ray.data.read_binary_files(args.photos, include_paths=True)
    rows = rows.map_batches(Scorer, batch_size=32, num_cpus=1, compute=ray.data.ActorPoolStrategy(size=args.workers),
                            fn_constructor_kwargs={'model': args.model, 'cache_dir': args.cache_dir})
    rows.write_parquet(args.scores)


if __name__ == '__main__':
    main()
