"""The project itself: who imports whom, what is public, what the README promises."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

import pytest
from paths import ROOT

import symjax_lib

LAYERS = ("symjax_lib", "train", "analysis", "notebooks")


def imported(path):
    """Returns the absolute names of all modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules():
    for layer in LAYERS[:3]:
        for path in sorted((ROOT / layer).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def test_layers_depend_one_way():
    for name, path in modules():
        rank = LAYERS.index(name.split(".")[0])
        for target in imported(path):
            top = target.split(".")[0]
            assert top not in LAYERS[rank + 1 :], f"{name} imports {target}"
            assert top != "tests", f"{name} imports {target}"


def test_modules_import_without_cycles():
    files = dict(modules())
    graph = {
        name: {t for t in imported(path) if t in files and t != name}
        for name, path in files.items()
    }
    # A package's list of names imports its modules; they may import siblings.
    for name, targets in graph.items():
        targets -= {p for p in files if name.startswith(p + ".")}
    done, stack = set(), []

    def visit(name):
        assert name not in stack, " -> ".join([*stack, name])
        if name not in done:
            stack.append(name)
            for target in graph[name]:
                visit(target)
            done.add(stack.pop())

    for name in graph:
        visit(name)


def test_library_is_light():
    """Nothing heavier than JAX and flax is loaded."""
    heavy = "matplotlib tensorflow_datasets orbax sklearn train analysis PIL tyro"
    code = (
        "import sys, symjax_lib; "
        f"print([m for m in {heavy.split()} if m in sys.modules and m != 'orbax'])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


def public():
    for info in pkgutil.walk_packages(symjax_lib.__path__, "symjax_lib."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", "") != info.name:
                continue
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{info.name}.{name}", value


PUBLIC = dict(public())


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    value = PUBLIC[name]
    assert inspect.getdoc(value), name
    if inspect.isfunction(value) and "Args:" in (doc := inspect.getdoc(value) or ""):
        for parameter in inspect.signature(value).parameters:
            assert re.search(rf"^ *\*?{parameter}:", doc, re.M), f"{name}: {parameter}"


def test_readme_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_every_make_target_is_listed():
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)", text, re.M)
    described = set(re.findall(r"^([a-z-]+):.*##", text, re.M))
    assert set(phony.split()) == described
