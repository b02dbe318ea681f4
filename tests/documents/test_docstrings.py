"""The examples in docstrings are true: what they call exists and takes what they give; shell lines parse.

An example is an indented block in a docstring. Nothing is imported but the command lines' parsers: calls are
compared with the definitions in the source. `…` and `...` stand for what is left out. The class of a variable
is that of the constructor or of the return annotation that it comes from; what stays unknown is not checked.
"""

import ast
import builtins
import contextlib
import io
import re
import shlex
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from inference import cli as inference_cli
from tests.support import REPOSITORY
from training.cli import main as training_cli

FILES = sorted(
    path for package in ("inference", "training", "ui") for path in (REPOSITORY / package).rglob("*.py")
)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef
PARSERS = {"inference": inference_cli.parser, "training": training_cli.parser}
REST = "_left_out"


@dataclass
class Module:
    """One source file: what it defines at its top, and what it imports."""

    name: str
    path: Path
    tree: ast.Module
    defined: dict[str, Definition] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    """Names of other kinds: constants, aliases, modules of libraries."""


@cache
def modules() -> dict[str, Module]:
    found = {}
    for path in FILES:
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        module = found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8")))
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom):
                module.imported |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
            elif isinstance(node, ast.Import):
                module.others |= {(a.asname or a.name).split(".")[0] for a in node.names}
        for node in module.tree.body:
            if isinstance(node, Definition):
                module.defined[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                module.others |= {
                    name.id for t in targets for name in ast.walk(t) if isinstance(name, ast.Name)
                }
    return found


def follow(dotted: str) -> list[Definition] | None:
    """Return the definition that `package.module.name` means; None when it is not one of ours."""
    for _ in range(5):  # through the faces that re-export it
        place, _, name = dotted.rpartition(".")
        module = modules().get(place)
        if module is None:
            return None
        if name in module.defined:
            return [module.defined[name]]
        dotted = module.imported.get(name, "")
    return None


@cache
def everywhere(name: str) -> list[Definition]:
    return [module.defined[name] for module in modules().values() if name in module.defined]


@cache
def known_names() -> set[str]:
    """Return the names that some file has from elsewhere, or that stand for no function."""
    return {name for module in modules().values() for name in (*module.imported, *module.others)}


def named(node: ast.expr) -> str:
    return ast.unparse(node).split("[")[0].split(".")[-1].strip("'\"")


def bases_of(kind: ast.ClassDef) -> list[ast.ClassDef] | None:
    """Return a class and those of ours that it inherits from; None when it has a library's constructor."""
    found = [kind]
    homes = [module for module in modules().values() if module.defined.get(kind.name) is kind]
    for base in kind.bases:
        if (name := named(base)) in ("Protocol", "Generic", "object", "BaseModel", "NamedTuple"):
            continue
        above: list[Definition] | None = None
        if homes and isinstance(base, ast.Attribute):
            above = follow(f"{homes[0].imported.get(ast.unparse(base.value), '')}.{name}")
        elif homes:
            here = homes[0].defined.get(name)
            above = [here] if here else follow(homes[0].imported.get(name, ""))
        inherited = bases_of(above[0]) if above and isinstance(above[0], ast.ClassDef) else None
        if inherited is None:
            return None
        found += inherited
    return found


def method_of(kind: ast.ClassDef, name: str) -> Function | None:
    for each in bases_of(kind) or [kind]:
        for node in each.body:
            if isinstance(node, Function) and node.name == name:
                return node
    return None


def has_attribute(kind: ast.ClassDef, name: str) -> bool:
    """Return whether a class has anything of that name, or may have it from a library's class."""
    if (line := bases_of(kind)) is None:
        return True
    for node in (node for each in line for node in ast.walk(each)):
        if isinstance(node, Function) and node.name in (name, "__getattr__"):
            return True
        stored = isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store)
        if stored and (node.id if isinstance(node, ast.Name) else node.attr) == name:
            return True
    return False


@dataclass
class Parameters:
    """What a call may give. `positional` are names in order, the required ones among them in `required`."""

    positional: list[str]
    keywords: set[str]
    required: set[str]
    any_positional: bool = False
    any_keyword: bool = False


def parameters_of(function: Function, *, bound: bool) -> Parameters:
    a = function.args
    positional = [p.arg for p in (*a.posonlyargs, *a.args)]
    static = any(named(d) == "staticmethod" for d in function.decorator_list)
    without_default = positional[: len(positional) - len(a.defaults)]
    if bound and not static:
        positional, without_default = positional[1:], without_default[1:]
    needed = {p.arg for p, default in zip(a.kwonlyargs, a.kw_defaults, strict=True) if default is None}
    names = {*positional, *(p.arg for p in a.kwonlyargs)} - {p.arg for p in a.posonlyargs}
    return Parameters(positional, names, {*without_default, *needed}, bool(a.vararg), bool(a.kwarg))


def constructor_of(kind: ast.ClassDef) -> Parameters | None:
    """Return what a class is made from; None when that is a library's affair."""
    line = bases_of(kind)
    if line is None:
        return None
    if init := method_of(kind, "__init__"):
        return parameters_of(init, bound=True)
    model = any(named(base) == "BaseModel" for each in line for base in each.bases)
    decorators = {
        named(d.func if isinstance(d, ast.Call) else d) for each in line for d in each.decorator_list
    }
    tuple_like = any(named(base) == "NamedTuple" for each in line for base in each.bases)
    if not (model or tuple_like or "dataclass" in decorators):
        return Parameters([], set(), set())
    fields = {}
    for each in reversed(line):
        for node in each.body:
            if isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation):
                value = ast.unparse(node.value) if node.value else ""
                if "init=False" not in value:
                    fields[named(node.target)] = bool(value) and not value.startswith("Field(...")
    required = {name for name, has_default in fields.items() if not has_default}
    keywords_only = model or any("kw_only=True" in ast.unparse(d) for d in kind.decorator_list)
    return Parameters([] if keywords_only else list(fields), set(fields), required)


def misfit(call: ast.Call, takes: Parameters) -> str:
    """Return why a call does not fit, "" when it does."""
    given = [a for a in call.args if not isinstance(a, ast.Starred)]
    starred = len(given) < len(call.args)
    keywords = [k.arg for k in call.keywords if k.arg is not None]
    open_ended = starred or len(keywords) < len(call.keywords)
    if len(given) > len(takes.positional) and not takes.any_positional:
        return f"takes {len(takes.positional)} positional arguments, not {len(given)}"
    if not takes.any_keyword and (strange := [k for k in keywords if k not in takes.keywords]):
        return f"has no parameter {', '.join(strange)}"
    if not open_ended and (missing := takes.required - set(keywords) - set(takes.positional[: len(given)])):
        return f"needs {', '.join(sorted(missing))}"
    return ""


class Example:
    """One block of code in a docstring of a module: what its names stand for, and which calls are wrong."""

    def __init__(self, module: Module, tree: ast.Module, within: dict[str, ast.ClassDef | None]) -> None:
        self.module = module
        self.variables = within
        self.problems: list[str] = []
        for node in ast.walk(tree):  # outermost first, which is the order of a script's lines
            self.note(node)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (why := self.wrong(node)):
                self.problems.append(f"{ast.unparse(node).replace('**' + REST, '…')}: {why}")

    def note(self, node: ast.AST) -> None:
        """Keep which class the variables of a statement have, as far as it says."""
        if isinstance(node, ast.Assign | ast.withitem | ast.For | ast.AsyncFor):
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            target = target or getattr(node, "optional_vars", None) or getattr(node, "target", None)
            value = node.value if isinstance(node, ast.Assign) else getattr(node, "context_expr", None)
            if isinstance(target, ast.Name):
                self.variables[target.id] = self.kind(value) if value else None
            elif target is not None:
                self.variables |= {n.id: None for n in ast.walk(target) if isinstance(n, ast.Name)}
        elif isinstance(node, Definition):
            self.variables[node.name] = node if isinstance(node, ast.ClassDef) and not node.bases else None
        elif isinstance(node, ast.ImportFrom):
            self.variables |= {a.asname or a.name: self.imported(node.module, a.name) for a in node.names}
        elif isinstance(node, ast.Import):
            self.variables |= {(a.asname or a.name).split(".")[0]: None for a in node.names}
        elif isinstance(node, ast.arg):
            self.variables[node.arg] = None
        elif isinstance(node, ast.Call):  # what is given to a call is somebody's variable, a model perhaps
            given = [a.id for a in node.args if isinstance(a, ast.Name) and not self.is_ours(a.id)]
            self.variables |= {name: None for name in given if name not in self.variables}

    def is_ours(self, name: str) -> bool:
        return name in self.module.defined or name in self.module.imported

    def imported(self, place: str | None, name: str) -> None:
        found = follow(f"{place}.{name}")
        if found is None and (place or "").split(".")[0] in ("inference", "training", "ui"):
            module = modules().get(place or "")
            if f"{place}.{name}" not in modules() and (module is None or name not in module.others):
                self.problems.append(f"from {place} import {name}: there is no such name")

    def candidates(self, function: ast.expr) -> list[Definition] | str | None:
        """Return what a call may mean, None when it can't be told, or why it can mean nothing."""
        if isinstance(function, ast.Name):
            return self.by_name(function.id)
        if not isinstance(function, ast.Attribute):
            return None
        owner, name = function.value, function.attr
        if (
            isinstance(owner, ast.Name)
            and owner.id in self.module.imported
            and owner.id not in self.variables
        ):
            place = self.module.imported[owner.id]
            if place in modules():
                inside = modules()[place]
                if name in inside.defined:
                    return [inside.defined[name]]
                known = name in inside.others or name in inside.imported
                return None if known else f"{place} has no {name}"
        if (kind := self.kind_of_owner(owner)) is None:
            return None
        if found := method_of(kind, name):
            return [found]
        return None if has_attribute(kind, name) else f"{kind.name} has no {name}"

    def by_name(self, name: str) -> list[Definition] | str | None:
        if name in self.variables or hasattr(builtins, name):
            return None
        if name in self.module.defined:
            return [self.module.defined[name]]
        if name in self.module.imported:
            return follow(self.module.imported[name])
        if found := everywhere(name):
            return found
        return None if name in known_names() else "there is no function or class of that name"

    def kind_of_owner(self, owner: ast.expr) -> ast.ClassDef | None:
        if isinstance(owner, ast.Name) and owner.id not in self.variables:
            found = self.by_name(owner.id)
            return found[0] if isinstance(found, list) and isinstance(found[0], ast.ClassDef) else None
        return self.kind(owner)

    def kind(self, value: ast.expr) -> ast.ClassDef | None:
        """Return the class that an expression has, as far as a constructor or an annotation says it."""
        if isinstance(value, ast.Name):
            return self.variables.get(value.id)
        if not isinstance(value, ast.Call):
            return None
        found = self.candidates(value.func)
        if not isinstance(found, list) or len(found) > 1:
            return None
        if isinstance(found[0], ast.ClassDef):
            return found[0]
        if found[0].returns is None or any(named(d) == "contextmanager" for d in found[0].decorator_list):
            return None
        named_so = ast.unparse(found[0].returns).strip("'\"")
        kinds = [one for one in everywhere(named_so) if isinstance(one, ast.ClassDef)]
        return kinds[0] if len(kinds) == 1 else None

    def wrong(self, call: ast.Call) -> str:
        found = self.candidates(call.func)
        if found is None or isinstance(found, str):
            return found or ""
        bound = isinstance(call.func, ast.Attribute) and self.kind_of_owner(call.func.value) is not None
        reasons = []
        for one in found:
            if isinstance(one, ast.ClassDef):
                takes = constructor_of(one)
            elif any(named(d) == "property" for d in one.decorator_list):
                takes = None
            else:
                takes = parameters_of(one, bound=bound)
            if takes is None or not (why := misfit(call, takes)):
                return ""
            reasons.append(why)
        return reasons[0]


def docstrings(module: Module) -> list[tuple[int, str]]:
    """Return the docstrings of a file, each with the line in which it begins."""
    return [
        (node.body[0].lineno if not isinstance(node, ast.Module) else 1, text)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Module | Definition) and (text := ast.get_docstring(node))
    ]


def blocks(text: str) -> list[str]:
    """Return the examples of a docstring, at the left margin: indented blocks, and paragraphs that are calls.

    The formatter takes away the indent of an example that ends its docstring and is all that follows a line.
    """
    found = re.findall(r"(?:^|\n\n)((?: {4}.*(?:\n|$)|\n(?= {4}))+)", text)
    found = [re.sub(r"^ {4}", "", block, flags=re.M) for block in found]
    for paragraph in text.split("\n\n")[1:]:
        with contextlib.suppress(SyntaxError):
            tree = ast.parse(paragraph.replace("…", "..."))
            found += [paragraph] if any(isinstance(node, ast.Call) for node in ast.walk(tree)) else []
    return found


def parsed(block: str) -> tuple[ast.Module, list[str]]:
    """Return the code of a block, line by line if it holds other things too, and calls that don't parse."""
    code = block.replace("…", "...")
    code = re.sub(r"^(\s*)\.\.\.\w.*$", r"\1...", code, flags=re.M)
    code = re.sub(r"(?<=[(,])\s*\.\.\.\s*(?=\))", f"**{REST}", code)
    with contextlib.suppress(SyntaxError):
        return ast.parse(code), []
    tree, torn = ast.Module([], []), []
    for line in code.splitlines():
        try:
            tree.body += ast.parse(line.strip() + (" ..." if line.rstrip().endswith(":") else "")).body
        except SyntaxError:
            if re.match(r"\s*[\w.]+\(", line):
                torn.append(line.strip())
    return tree, torn


def shell_problem(line: str) -> str:
    """Return why `python -m PACKAGE …` is no command of ours, "" when it is one."""
    words = shlex.split(re.sub(r"\[[^]]*\]|…|\.\.\.", " ", line), comments=True)[2:]
    package, arguments = words[0], words[1:]
    if package not in PARSERS:
        module = modules().get(package)
        is_command = module is not None and "__main__" in module.path.read_text(encoding="utf-8")
        return "" if is_command else f"{package} is no command"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            PARSERS[package]().parse_args(arguments)
    except SystemExit as ended:
        return said.getvalue().strip().splitlines()[-1] if ended.code else ""
    return ""


def problems_of(module: Module) -> list[str]:
    found = []
    for line, text in docstrings(module):
        variables: dict[str, ast.ClassDef | None] = {}
        for block in blocks(text):
            shell = re.findall(
                r"^\s*(?:\$ )?(python -m (?:inference|training|ui).*?)(?: {3,}.*)?$", block, re.M
            )
            wrong = [f"{each}: {why}" for each in shell if (why := shell_problem(each))]
            tree, torn = parsed(block)
            wrong += [f"{each}: it is no Python" for each in torn if not each.startswith("python -m")]
            wrong += Example(module, tree, variables).problems
            found += [f"{module.path.relative_to(REPOSITORY)}:{line}: {each}" for each in wrong]
    return found


def test_an_example_calls_what_is_there_as_it_is():
    found = [problem for module in modules().values() for problem in problems_of(module)]
    assert not found, "\n".join(["an example in a docstring is not true:", *found])


@pytest.mark.parametrize("package", PARSERS)
def test_a_command_that_is_named_in_passing_is_one(package):
    """`python -m training train quick` in an error or a docstring: the command and its options exist."""
    [commands] = [a.choices for a in PARSERS[package]()._actions if isinstance(a.choices, dict)]
    for path in FILES:
        for words in re.findall(rf"`python -m {package} ([^`\n]+)`", path.read_text(encoding="utf-8")):
            command, *arguments = words.replace("{", " ").replace("}", " ").split()
            place = f"{path.relative_to(REPOSITORY)}: python -m {package} {words}"
            if command.isupper() or command.startswith("("):  # a placeholder, a pattern
                continue
            assert command in commands, place
            options = [word for word in arguments if word.startswith("--")]
            assert not [word for word in options if word not in commands[command]._option_string_actions], (
                place
            )


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("Prediction('a', (0.5,), False)", ""),
        ("Prediction('a', (0.5,), …)", ""),
        ("Prediction('a', (0.5,))", "needs truncated"),
        ("found = Classifier.load('x', engin='torch')", "has no parameter engin"),
        ("c = Classifier.load('x'); c.predict(['a'], 5)", "takes 1 positional arguments, not 2"),
        ("with Classifier.load('x') as c: c.predicted(['a'])", "Classifier has no predicted"),
        ("c = Classifier.load('x')\nc.predict(['a'])[0].anything()", ""),
        ("no_such_function(5)", "there is no function or class of that name"),
        ("from inference.labels import Labels", "there is no such name"),
        ("softmax(logits, axis=1)", "has no parameter axis"),
    ],
)
def test_the_check_itself_sees_what_is_wrong(code, why):
    tree, torn = parsed(code)
    problems = Example(modules()["inference.classifier"], tree, {}).problems
    assert not torn
    assert [problem.rsplit(": ", 1)[1] for problem in problems] == ([why] if why else [])


def test_most_examples_hold_a_call():
    """The check is no use if it finds no blocks, or if none of their calls can be told."""
    calls = [
        node
        for module in modules().values()
        for _, text in docstrings(module)
        for block in blocks(text)
        for node in ast.walk(parsed(block)[0])
        if isinstance(node, ast.Call)
    ]
    assert len(calls) > 150
