#!/usr/bin/env python3
"""Writes down how timm prepares images for its ResNets, ResNeSts, SE- and SK-ResNets.

    scripts/timm_settings.py            # writes cli/src/image_input/timm.csv
    scripts/timm_settings.py --check    # says whether that is what would be written

Takes timm's wheel from PyPI and evaluates the tables in it, which needs neither PyTorch nor to install it.
A model's bare name stands for the weights that `timm.create_model(name, pretrained=True)` takes.
"""

import ast
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import common

VERSION = common.VERSIONS['timm']
MODULES = ['byobnet', 'resnest', 'resnet', 'senet', 'sknet']
TABLE = pathlib.Path(__file__).resolve().parent.parent / 'cli/src/image_input/timm.csv'
# What makes a set of weights one that can be had.
SOURCES = ['url', 'file', 'hf_hub_id', 'hf_hub_filename']


def wheel(folder):
    """Timm's wheel, opened."""
    what = [common.python_with(), '-m', 'pip', 'download', '--quiet', '--no-deps', '--dest', folder, f'timm=={VERSION}']
    subprocess.run(what, check=True)
    return zipfile.ZipFile(next(pathlib.Path(folder).glob('timm-*.whl')))


def wanted(node):
    """Whether a statement makes configurations, of which the rest of a module is independent."""
    if isinstance(node, ast.FunctionDef):
        return node.name.startswith('_') and 'cfg' in node.name
    return isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == 'default_cfgs'


def configurations(source, constants):
    """The dict `default_cfgs` of a module, by names with tags."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if wanted(node)]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in [*node.args.args, node.args.kwarg]:
                if argument is not None:
                    argument.annotation = None
    scope = {**constants, 'generate_default_cfgs': lambda all: all}
    exec(compile(tree, 'timm', 'exec'), scope)
    return scope['default_cfgs']


def with_defaults(configurations):
    """The same with bare names too, by timm's rules: those without a tag or with a starred one, else the first
    with weights."""
    named, starred, weighted = {}, set(), set()
    for name, config in configurations.items():
        model, _, tag = name.partition('.')
        has_weights = any(config.get(source) for source in SOURCES)
        first = (has_weights and not tag) or (tag.endswith('*') and model not in starred)
        if first:
            starred.add(model)
        if first or (has_weights and model not in weighted) or model not in named:
            named[model] = config
        if has_weights:
            weighted.add(model)
        if tag:
            named[f'{model}.{tag.rstrip("*")}'] = config
    return named


def settings(config, imagenet):
    """A row of the table: mean and standard deviation only where they are not ImageNet's."""
    numbers = [config['mean'], config['std']]
    stated = [] if numbers == imagenet else [' '.join(f'{x:g}' for x in each) for each in numbers]
    return [config['interpolation'], f'{config["crop_pct"]:g}', *stated]


def rows(configurations, imagenet):
    """What each name has, without tags that say nothing else than the bare name."""
    made = {name: settings(config, imagenet) for name, config in configurations.items()}
    own = lambda name: '.' not in name or made[name] != made[name.partition('.')[0]]
    return [','.join([name, *made[name]]) for name in made if own(name)]


def table():
    all = []
    with tempfile.TemporaryDirectory() as folder:
        archive = wheel(folder)
        read = lambda path: archive.read(path).decode()
        constants = {}
        exec(read('timm/data/constants.py'), constants)
        constants = {key: value for key, value in constants.items() if key.isupper()}
        for module in MODULES:
            found = with_defaults(configurations(read(f'timm/models/{module}.py'), constants))
            all += rows(found, [constants['IMAGENET_DEFAULT_MEAN'], constants['IMAGENET_DEFAULT_STD']])
    head = f'# timm {VERSION}, by scripts/timm_settings.py: name, interpolation, crop_pct, mean and std where not ImageNet\'s'
    return '\n'.join([head, *sorted(all)]) + '\n'


def main():
    made = table()
    if sys.argv[1:] == ['--check']:
        if TABLE.read_text() != made:
            sys.exit(f'{TABLE.name} is not what timm {VERSION} says: run {sys.argv[0]}')
        return
    TABLE.write_text(made)
    print(f'{made.count(chr(10)) - 1} models')


main()
