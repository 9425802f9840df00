#!/usr/bin/env python3
"""Looks into six models with every tool that there is for it, and checks what the tools print.

    scripts/looks.py BIN [--resnest50 MODEL] [--resnest269 MODEL] [--unet MODEL] [--only NAME...] [--quick]

BIN is a build of cardinal. The models are that of digits, the same quantized, a tiny one of the tests, ResNeSt-50,
ResNeSt-269, and a Unet on a ResNeSt encoder. The large ones are given, or exported by timm and by
segmentation_models_pytorch, with random weights, into target/looks, where they stay. --quick takes the small ones.

Every command must end with 0; JSON and SVG must parse; a page must ask nothing of a network, and that of ResNeSt-50 be
smaller than 3 MB; nothing may have escape codes; and lines for people may not be longer than 80 columns, unless for a
word of more than 45, as names and digests are not cut. Dumps of a stage are not lines for people. A table says what
passed, with sizes and seconds.
"""
import argparse
import html.parser
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

import common

KEPT = os.path.join(common.HERE, 'target', 'looks')
TINY = os.path.join(common.HERE, 'compiler', 'tests', 'fixtures', 'tiny', 'resnest_r2k2_avdfirst.dyn.onnx')
WIDTH, NAME = 80, 45
LARGEST_PAGE = 3_000_000
EXPORT = '''
import sys, torch
what, path = sys.argv[1:]
torch.manual_seed(0)
if what == 'unet':
    import segmentation_models_pytorch as smp
    model, size = smp.Unet('timm-resnest50d', encoder_weights=None, classes=3), 256
else:
    import timm
    model = timm.create_model(what, pretrained=False)
    size = model.default_cfg['input_size'][-1]
torch.onnx.export(model.eval(), torch.zeros(1, 3, size, size), path, opset_version=17, dynamo=False)
'''


# ---- models -------------------------------------------------------------------------------------

def exported(what):
    """The path of an exported model, which is made on first use."""
    path = os.path.join(KEPT, what + '.onnx')
    if not os.path.exists(path):
        os.makedirs(KEPT, exist_ok=True)
        packages = ['segmentation_models_pytorch'] if what == 'unet' else ['timm']
        python = common.python_with('torch', 'torchvision', 'onnx', *packages)
        subprocess.run([python, '-c', EXPORT, what, path + '.part'], check=True, stdout=sys.stderr)
        os.replace(path + '.part', path)
    return path


# ---- what output must be ------------------------------------------------------------------------

class Page(html.parser.HTMLParser):
    """What a page would load from elsewhere."""

    def __init__(self):
        super().__init__()
        self.loads, self.tags = [], 0

    def handle_starttag(self, tag, attributes):
        self.tags += 1
        self.loads += [value for name, value in attributes
                       if name in ('src', 'href', 'srcset', 'data') and re.match(r'(https?:)?//', value or '')]


def is_json(text):
    return [] if json.loads(text) else ['the JSON is empty']


def is_svg(text):
    root = xml.etree.ElementTree.fromstring(text)
    faults = [] if root.tag.endswith('}svg') else [f'is {root.tag}']
    return faults + external(text)


def is_page(text):
    page = Page()
    page.feed(text)
    page.close()
    faults = [f'loads {value}' for value in page.loads] + ([] if page.tags > 10 else ['has no tags'])
    return faults + external(text)


def external(text):
    return ['loads from elsewhere in its style'] if re.search(r'@import|url\(\s*["\']?(https?:)?//', text) else []


def is_dot(text):
    return [] if text.startswith('digraph') and text.rstrip().endswith('}') else ['is no graph of dot']


def is_text(text):
    """Lines for people."""
    long = [line for line in text.splitlines() if len(line) > WIDTH and max(map(len, line.split())) <= NAME]
    return [f'{len(long)} lines of more than {WIDTH} columns, such as {long[0]!r}'] if long else []


def is_dump(text):
    return [] if text.strip() else ['prints nothing']


def is_explained(text):
    """A way: the text of the graph and of the plan in it is not for people."""
    def is_dumped(line):
        starts = line.startswith(('    lies ', '  > ')) or line.lstrip().startswith(('"', 'from '))
        return starts or ' = ' in line or ' weight %' in line
    return is_text('\n'.join(line for line in text.splitlines() if not is_dumped(line)))


def commands(model, layer, folder, artifact):
    """What is looked at: the arguments, and what their output must be."""
    fast = ['--iterations', '3', '--warmup', '1']
    all_of = [
        (['doctor', model], is_text), (['doctor', model, '--json'], is_json),
        (['inspect', model, '--passes'], is_text), (['inspect', model, '--passes', '--json'], is_json),
        (['inspect', model, '--why'], is_dump), (['inspect', model, '--diff', 'split_attention'], is_dump),
        (['inspect', model, '--format', 'html'], is_page), (['inspect', model, '--format', 'svg'], is_svg),
        (['inspect', model, '--format', 'svg', '--node', 'split_attention'], is_svg),
    ]
    for stage in ['import', 'fused', 'schedule', 'plan']:
        all_of += [(['inspect', model, '--stage', stage], is_dump),
                   (['inspect', model, '--stage', stage, '--format', 'json'], is_json)]
    all_of += [(['inspect', model, '--stage', stage, '--format', 'dot'], is_dot) for stage in ['import', 'fused', 'plan']]
    all_of += [(['inspect', model, '--stage', stage], is_dump) for stage in ['clif', 'asm']]
    all_of += [(['explain', model, layer], is_explained), (['explain', model, layer, '--asm', '--json'], is_json)]
    all_of += [(['profile', model, *fast, '--format', form], check) for form, check in
               [('text', is_text), ('json', is_json), ('html', is_page), ('chrome-trace', is_json)]]
    all_of += [(['bench', model, *fast, '--steps'], is_text)]
    all_of += [(['verify', model], is_text), (['verify', model, '--layers'], is_text),
               (['verify', model, '--layers', '--json'], is_json)]
    part = ['-o', os.path.join(folder, 'part.onnx')]
    all_of += [(['bisect', model, *part], is_text), (['bisect', model, *part, '--json'], is_json)]
    # What was deployed says the same of itself.
    all_of += [(['inspect', artifact], is_text), (['inspect', artifact, '--json'], is_json),
               (['inspect', artifact, '--format', 'svg'], is_svg),
               (['inspect', artifact, '--stage', 'plan'], is_dump), (['inspect', artifact, '--against', model], is_dump),
               (['explain', artifact, layer], is_explained), (['profile', artifact, *fast], is_text)]
    return all_of


# ---- running them -------------------------------------------------------------------------------

def run(binary, arguments):
    """What a command prints on stdout, how long it took, and what is wrong so far."""
    begin = time.monotonic()
    ran = subprocess.run([binary, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    took = time.monotonic() - begin
    faults = [] if ran.returncode == 0 else [f'ends with {ran.returncode}: {ran.stderr.decode(errors="replace")[:400]}']
    faults += ['has escape codes'] if b'\x1b' in ran.stdout + ran.stderr else []
    return ran.stdout.decode(), took, faults


def checked(check, text):
    try:
        return check(text)
    except (ValueError, xml.etree.ElementTree.ParseError) as error:
        return [f'does not parse: {error}']


def first_layer(binary, model):
    """A node of the file that a Split-Attention came from, or else the first convolution."""
    nodes = json.loads(run(binary, ['inspect', model, '--format', 'json'])[0])['nodes']
    wanted = [node for op in ('split_attention', 'conv') for node in nodes if node['op'] == op]
    return wanted[0]['name']


def texts(binary, model, folder):
    """The graph's text is a model too, with the same results."""
    path = os.path.join(folder, 'graph.txt')
    with open(path, 'w', encoding='utf-8') as out:
        out.write(run(binary, ['inspect', model])[0])
    return ['verify', path, '--weights-from', model], is_text


def look(binary, name, model, folder):
    """Prints a row for each command on one model; whether all are as they should be."""
    artifact = os.path.join(folder, name + '.cardinal')
    subprocess.run([binary, 'compile', model, '-o', artifact], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    layer = first_layer(binary, model)
    good = True
    for arguments, check in [*commands(model, layer, folder, artifact), texts(binary, model, folder)]:
        text, took, faults = run(binary, arguments)
        faults += [] if faults else checked(check, text)
        size = len(text.encode())
        if check is is_page and name == 'resnest50' and size > LARGEST_PAGE:
            faults.append(f'the page has {size} bytes')
        words = [os.path.basename(word) if os.path.exists(word) else word for word in arguments]
        passed = 'FAILED' if faults else 'passed'
        print(f'{name:11} {passed} {size / 1e3:10.1f} kB {took:7.2f} s  {" ".join(words)[:90]}', flush=True)
        for fault in faults:
            print(f'    {fault}')
        good &= not faults
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('binary')
    for large in ('resnest50', 'resnest269', 'unet'):
        parser.add_argument(f'--{large}', metavar='MODEL')
    parser.add_argument('--only', nargs='*', metavar='NAME')
    parser.add_argument('--quick', action='store_true')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = {'digits': lambda: common.DIGITS, 'digits.int8': lambda: common.quantized_digits(args.binary, folder),
                  'tiny': lambda: TINY}
        if not args.quick:
            models |= {'resnest50': lambda: args.resnest50 or exported('resnest50d'),
                       'unet': lambda: args.unet or exported('unet'),
                       'resnest269': lambda: args.resnest269 or exported('resnest269e')}
        wanted = {name: of for name, of in models.items() if not args.only or name in args.only}
        good = [look(args.binary, name, of(), folder) for name, of in wanted.items()]
    print('all passed' if all(good) else 'FAILED')
    sys.exit(not all(good))


if __name__ == '__main__':
    main()
