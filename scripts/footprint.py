#!/usr/bin/env python3
"""How much memory a compiled model takes, what two processes share of it, and how long it takes to load.

    scripts/footprint.py MODEL.cardinal [--cardinal target/release/cardinal] [--processes 2] [--loads 40]

Linux only. Each process is `cardinal bench` on one thread. It prints

    resident    the most that a process has resident, and how many times the artifact and its scratch memory that is
    each of N   what N processes at once have resident each, and its share (PSS: what n processes share counts 1/n)
    load        from opening the file, which is in the page cache, to a program that runs: the least of some loads,
                as a machine that is busy takes longer
"""
import argparse
import json
import os
import subprocess
import sys
import time

import common

MB = 1e6
# After which a process has touched all that it needs.
SECONDS = 3


def said(command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def scratch_bytes(binary, model):
    """The arena and the memory of one thread, of the code that runs here."""
    about = said([binary, 'inspect', model, '--format', 'json'])['about']
    begin = next(i for i, (what, value) in enumerate(about) if what == 'variant' and value.endswith('(runs here)'))
    return sum(int(next(value for what, value in about[begin:] if what == wanted))
               for wanted in ('arena bytes', 'worker bytes'))


def rollup(process):
    """Resident bytes of a process and its share of them."""
    with open(f'/proc/{process.pid}/smaps_rollup', encoding='utf-8') as file:
        fields = dict(line.split(':', 1) for line in file if ':' in line and line.rstrip().endswith('kB'))
    return [int(fields[name].split()[0]) * 1024 for name in ('Rss', 'Pss')]


def at_once(command, count):
    """What processes have resident while all of them run."""
    running = [subprocess.Popen([*command, '--iterations', '1000000'], stdout=subprocess.DEVNULL) for _ in range(count)]
    try:
        time.sleep(SECONDS)
        return [rollup(process) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model')
    parser.add_argument('--cardinal', default=os.path.join(common.HERE, 'target', 'release', 'cardinal'))
    parser.add_argument('--processes', type=int, default=2)
    parser.add_argument('--loads', type=int, default=40)
    options = parser.parse_args()
    command = [options.cardinal, 'bench', options.model, '--threads', '1', '--warmup', '1']
    runs = [said([*command, '--iterations', '1', '--json']) for _ in range(options.loads)]
    size, scratch = os.path.getsize(options.model), scratch_bytes(options.cardinal, options.model)
    most, load = max(run['peak_rss_bytes'] for run in runs), min(run['load_ms'] for run in runs)
    print(f'artifact {size / MB:.1f} MB, scratch memory {scratch / MB:.1f} MB, {runs[0]["precision"]}')
    print(f'resident {most / MB:.1f} MB, {most / (size + scratch):.2f} times both')
    for resident, share in at_once(command, options.processes):
        print(f'each of {options.processes}: resident {resident / MB:.1f} MB, its share {share / MB:.1f} MB')
    print(f'load {load:.1f} ms, the least of {options.loads}')


if __name__ == '__main__':
    sys.exit(main())
