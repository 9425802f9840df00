#!/usr/bin/env python3
"""How fast `cardinal score` is beside what `cardinal bench --images` says to expect.

    scripts/score_photos.py PHOTOS MODEL [--count 5000] [--threads 2] [--rounds 1] [--cardinal target/release/cardinal]

PHOTOS is a folder of photographs, of which random pieces are written as JPEG to target/crops, the same ones every
time. MODEL is an .onnx or .cardinal. Bench and score run in turns, and the best round of each counts, as others may use
the machine too: what is asked for is a ratio of 0.95. Needs Pillow, which is installed into target/python.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

import common


def make_crops(photos, folder, count):
    """Writes pieces of photographs whose shorter side is from 240 to 512 pixels."""
    from PIL import Image
    os.makedirs(folder, exist_ok=True)
    names = sorted(name for name in os.listdir(photos) if name.endswith('.jpg'))
    images = [Image.open(os.path.join(photos, name)).convert('RGB') for name in names]
    choose = random.Random(0)
    for index in range(count):
        image = choose.choice(images)
        side = choose.randint(240, min(512, *image.size))
        size = [min(image.size[0], int(side * choose.uniform(1, 1.5))), side]
        left, top = (choose.randint(0, whole - part) for whole, part in zip(image.size, size))
        path = os.path.join(folder, f'{index:05}.jpg')
        if not os.path.exists(path):
            image.crop((left, top, left + size[0], top + size[1])).save(path, quality=90)


def expect(options, model, crops):
    """What bench says of scoring, in images a second."""
    bench = [options.cardinal, 'bench', model, '--images', crops, '--iterations', '1', '--json', '--threads']
    said = subprocess.run([*bench, str(options.threads)], check=True, stdout=subprocess.PIPE).stdout
    return json.loads(said)['images']


def score(options, model, crops, folder):
    """How many images a second scoring makes, with loading the model and writing the table."""
    output = os.path.join(folder, 'results.jsonl')
    begin = time.monotonic()
    command = [options.cardinal, 'score', model, crops, '-o', output, '--threads', str(options.threads)]
    subprocess.run(command, check=True)
    rate = options.count / (time.monotonic() - begin)
    with open(output, encoding='utf-8') as file:
        assert sum(1 for _ in file) == options.count, 'not a row an image'
    return rate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photos')
    parser.add_argument('model')
    parser.add_argument('--count', type=int, default=5000)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=1)
    parser.add_argument('--cardinal', default=os.path.join(common.HERE, 'target', 'release', 'cardinal'))
    options = parser.parse_args()
    common.enter('pillow')
    crops = os.path.join(common.HERE, 'target', 'crops', str(options.count))
    make_crops(options.photos, crops, options.count)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model
        if model.endswith('.onnx'):
            model = os.path.join(folder, os.path.basename(model)[:-len('onnx')] + 'cardinal')
            subprocess.run([options.cardinal, 'compile', options.model, '-o', model], check=True)
        rounds = [(expect(options, model, crops), score(options, model, crops, folder)) for _ in range(options.rounds)]
    expected = max((expected for expected, _ in rounds), key=lambda expected: expected['predicted_per_second'])
    rate = max(rate for _, rate in rounds)
    predicted = expected['predicted_per_second']
    print(f'decoding and resizing alone {expected["decode_per_second"]:.1f} images/s, inference alone '
          f'{expected["inference_per_second"]:.1f}, decoding takes {100 * expected["decode_share"]:.1f} %')
    print(f'{options.count} images, {options.threads} threads: {rate:.2f} images/s, expected {predicted:.2f}, '
          f'{rate / predicted:.3f} times')


if __name__ == '__main__':
    sys.exit(main())
