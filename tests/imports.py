"""What the files of a package import from each other, read from their source without running it.

A package is a mapping of paths, relative to its folder, to sources, so that tests can make one up. A module is named
with the package's name in front, as in ``ezez_ws.messages.codec``. Counted is every import that runs: at any level,
inside functions too, and by ``import_module`` where the name is written there; only what is under
``if TYPE_CHECKING`` is not. That importing a module also imports the packages it lies in does not count.
"""

import ast
import graphlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["Import", "find_circle", "find_imports", "long_files", "long_functions", "read_package"]


class Import(NamedTuple):
    importer: str
    line: int
    imported: str


def read_package(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in sorted(folder.rglob("*.py"))}


def find_imports(package: str, sources: Mapping[str, str], extensions: tuple[str, ...] = ()) -> list[Import]:
    """Find who imports whom within the package.

    Args:
        package: its name.
        sources: its files.
        extensions: the last part of the names of modules that are not in Python, wherever they are.
    """
    modules = {_module_name(package, path) for path in sources}
    found = []
    for path, source in sources.items():
        importer = _module_name(package, path)
        inside = importer if path.endswith("__init__.py") else importer.rpartition(".")[0]
        for line, base, name in _imports(ast.parse(source, path), inside):
            whole = f"{base}.{name}"
            imported = whole if name and (whole in modules or name in extensions) else base
            if imported.partition(".")[0] == package:
                found.append(Import(importer, line, imported))
    return found


def find_circle(imports: list[Import]) -> list[str]:
    """Return modules of which each is imported by the next, the first and the last being the same; or none."""
    graph: dict[str, set[str]] = {}
    for one in imports:
        graph.setdefault(one.importer, set()).add(one.imported)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def long_files(sources: Mapping[str, str], limit: int) -> dict[str, int]:
    """Return the paths of files that have more lines than ``limit``, and how many these have."""
    lengths = {path: len(source.splitlines()) for path, source in sources.items()}
    return {path: length for path, length in lengths.items() if length > limit}


def long_functions(sources: Mapping[str, str], limit: int) -> dict[str, int]:
    """Return ``path: name`` of functions of more lines than ``limit``, signature and docstring not counted."""
    found = {}
    for path, source in sources.items():
        for name, function in _functions(ast.parse(source, path), ""):
            first = function.body[0]
            start = first.lineno if ast.get_docstring(function, clean=False) is None else (first.end_lineno or 0) + 1
            length = (function.end_lineno or 0) - start + 1
            if length > limit:
                found[f"{path}: {name}"] = length
    return found


def _module_name(package: str, path: str) -> str:
    parts = [package, *path.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(node: ast.AST, inside: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line of each import, the module that it names, and what it takes from there, if anything."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield node.lineno, alias.name, ""
    elif isinstance(node, ast.ImportFrom):
        base = importlib.util.resolve_name("." * node.level + (node.module or ""), inside)
        for alias in node.names:
            yield node.lineno, base, alias.name
    elif isinstance(node, ast.Call) and _last_name(node.func) in ("import_module", "__import__") and node.args:
        name = node.args[0]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield node.lineno, importlib.util.resolve_name(name.value, inside), ""
    checked_only = isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING"
    for child in node.orelse if isinstance(node, ast.If) and checked_only else ast.iter_child_nodes(node):
        yield from _imports(child, inside)


def _last_name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        name = prefix
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            name = f"{prefix}.{child.name}".lstrip(".")
            if not isinstance(child, ast.ClassDef):
                yield name, child
        yield from _functions(child, name)
