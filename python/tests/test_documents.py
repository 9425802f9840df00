"""What documents show runs as it stands there."""

import ast
import re
import shutil

import pytest

import cardinal_ml
from cardinal_ml import _native
from conftest import DIGITS, ROOT

README = (ROOT / 'README.md').read_text()
SECTION = re.search(r'^## From Python\n.*?(?=^## )', README, re.MULTILINE | re.DOTALL).group()
CHAPTER = (ROOT / 'docs' / 'src' / 'python.md').read_text()


def blocks(text, language):
    return re.findall(rf'^```{language}\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)


def run(text):
    """Runs all blocks of a document, one after the other."""
    scope = {}
    for block in blocks(text, 'python'):
        exec(compile(block, 'document', 'exec'), scope)


def test_the_section_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / 'examples').symlink_to(ROOT / 'examples')
    monkeypatch.chdir(tmp_path)
    run(SECTION)
    assert capsys.readouterr().out.strip().isdigit()
    assert list(tmp_path.rglob('*.cardinal'))


def test_the_readme_installs_as_the_script_of_these_tests_does():
    assert '`pip install ./python`' in SECTION
    assert 'pip install --quiet --force-reinstall --no-deps ./python\n' in (ROOT / 'scripts/python.sh').read_text()
    assert len(SECTION.strip().splitlines()) <= 10


def test_the_chapter_runs(tmp_path, monkeypatch, capsys):
    shutil.copy(DIGITS, tmp_path / 'digits.onnx')
    shutil.copytree(DIGITS.parent / 'images', tmp_path / 'photos')
    monkeypatch.chdir(tmp_path)
    run(CHAPTER)
    printed = capsys.readouterr().out
    assert 'convert it first: x.astype(numpy.float32)' in printed
    assert printed.endswith('\n7\n')


def test_the_stubs_have_what_the_native_part_has():
    public = lambda names: {name for name in names if not name.startswith('_')}
    stub = ast.parse((ROOT / 'python/cardinal_ml/_native.pyi').read_text())
    functions = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    assert functions | set(classes) == public(dir(_native))
    for name, node in classes.items():
        members = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
        assert public(members) == public(dir(getattr(_native, name)))


@pytest.mark.parametrize('name', cardinal_ml.__all__)
def test_everything_public_is_explained(name):
    value = getattr(cardinal_ml, name)
    is_plain = isinstance(value, str) or name in {'get_all_providers', 'get_available_providers', 'get_device'}
    assert is_plain or value.__doc__
