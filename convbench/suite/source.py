"""Find and read a suite's text, and parse it into data with the place of every value."""

from __future__ import annotations

import codecs
import math
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from convbench.core.errors import SuiteError, line_of
from convbench.core.registry import did_you_mean
from convbench.core.text import cut, short_name
from convbench.suite.mistakes import Location, Mark, Mistakes, quoted

MAX_BYTES = 2**20
MAX_VALUES = 100_000
ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Encodings that YAML has besides UTF-8, by the mark at the beginning of their files; the longer marks first."""
_MERGE = "tag:yaml.org,2002:merge"
_REMEDIES = {
    "'\\t'": "put spaces where the tab is",
    "cannot start any token": "quote text that begins with it",
    "mapping values are not allowed": "indent all keys of a mapping alike, and quote text that has a colon in it",
    "<block end>": "indent all keys of a mapping, or all entries of a list, alike",
    "expected ':'": "a key ends with a colon, an entry of a list begins with '- '",
    "<document start>": "a suite is one mapping, such as matrix: {reducer: gap}",
}
"""Parts of the parser's messages, with what to do about each; the first that applies is said."""


def shipped_suites() -> dict[str, Path]:
    """Return the suites that are shipped with convbench, by name: from the wheel, or from a checkout's ``suites/``."""
    package = Path(__file__).parents[1]
    folders = (package / "_suites", package.parent / "suites")
    return {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*.yaml"))}


def find(source: str) -> Path:
    """Return the file that ``source`` means: a path, or the name of a shipped suite. Raises SuiteError for neither."""
    path, suites = Path(source), shipped_suites()
    if not source.strip():
        raise SuiteError(f"no suite is named: name a YAML file, or one that is shipped ({', '.join(sorted(suites))})")
    try:
        if path.is_file() or (path.is_dir() and source not in suites):
            return path
        if path.exists() and not path.is_dir():
            raise SuiteError(f"{source}: is a pipe or a device, and a suite is read more than once: write it to a file")
    except (OSError, ValueError) as error:
        raise SuiteError(f"{short_name(source)}: cannot be a file ({getattr(error, 'strerror', error)})") from error
    if source in suites:
        return suites[source]
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        hint = f"; the shipped suite of that name is run as {path.stem!r}" if path.stem in suites else ""
        raise SuiteError(f"{source}: {'a link that leads nowhere' if path.is_symlink() else 'no such file'}{hint}")
    suggestion = did_you_mean(source, suites)
    shelf = f" (shipped: {', '.join(sorted(suites))})" if "did you mean" in suggestion else ""
    raise SuiteError(f"no suite {source!r}{suggestion}{shelf}")


def read(path: Path, mistakes: Mistakes) -> str:
    """Return the text of a suite file. Raises SuiteError if it is not a readable text file of at most 1 MiB.

    The text is UTF-8, or has the mark of one of ``ENCODINGS``.
    """
    if path.is_dir():
        mistakes.fail("is a directory: name a YAML file in it")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        mistakes.fail(f"cannot be read: {error.strerror}")
    if len(content) > MAX_BYTES:
        mistakes.fail("is larger than 1 MiB: this is not a suite")
    encoding = next((name for mark, name in ENCODINGS if content.startswith(mark)), "utf-8-sig")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        mistakes.fail(
            f"is not {encoding.upper().removesuffix('-SIG')} text (line {line}, byte 0x{content[error.start]:02x})"
        )


class _Constructor(SafeConstructor):
    """Makes plain data without dates: in a suite 1024-64-32 are sizes of layers. 1e3 steps are the integer 1000."""

    def number(self, node: ScalarNode) -> float:
        """Return a whole number for 1e3, which YAML calls a float."""
        value = self.construct_yaml_float(node)
        return int(value) if "." not in node.value and value.is_integer() else value


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)
_Constructor.add_constructor("tag:yaml.org,2002:float", _Constructor.number)


def loader() -> YAML:
    """Return a parser that reads YAML as plain data."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    yaml.composer.warn_double_anchors = False  # YAML allows to use an anchor's name again
    return yaml


def value_of(text: str) -> Any:
    """Return the value of a line of YAML, such as an option. Raises ValueError if it is not YAML."""
    try:
        value = loader().load(text)
        repr(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except Exception as error:
        raise ValueError(cut(line_of(error), 100)) from error
    return value


def parse(text: str, mistakes: Mistakes) -> Any:
    """Return YAML as plain data, with its places noted in ``mistakes``; None if it is not YAML at all."""
    yaml = loader()
    try:
        node = yaml.compose(text)
        if node is not None and _size(node, {}) > MAX_VALUES:
            mistakes.add((), f"holds more than {MAX_VALUES:,} values (aliases expanded)")
            return None
        return None if node is None else _Reader(yaml, mistakes).data(node, ())
    except MarkedYAMLError as error:
        problem = str(error.problem).replace("('<scalar>',)", "text")
        is_open = "stream" in problem and error.context_mark  # what is not closed matters, not where the file ends
        mark = error.context_mark if is_open else error.problem_mark or error.context_mark
        remedy = next((f": {remedy}" for part, remedy in _REMEDIES.items() if part in problem), "")
        place = Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)
        mistakes.add_mark(place, f"not YAML: {', '.join(filter(None, (error.context, problem)))}{remedy}")
    except ReaderError as error:
        lines = f"{text[: error.position]}?".splitlines()
        mistakes.add_mark(Mark(len(lines), len(lines[-1])), f"not YAML: {line_of(error)}")
    except YAMLError as error:
        mistakes.add((), f"not YAML: {line_of(error)}")
    except RecursionError:
        mistakes.add((), "is nested too deeply")
    except (ValueError, OverflowError, LookupError, TypeError, AssertionError) as error:  # the last for %YAML 1.3
        mistakes.add((), f"not YAML: {cut(str(error), 100)}")
    return None


class _Reader:
    """Turns the node tree into data, noting where each value and key stands and every key given twice."""

    def __init__(self, yaml: Any, mistakes: Mistakes) -> None:
        self._construct = yaml.constructor.construct_object
        self._mistakes = mistakes

    def data(self, node: Node, location: Location) -> Any:
        self._mistakes.values[location] = _mark(node)
        match node:
            case MappingNode():
                return self._mapping(node, location)
            case SequenceNode():
                return [self.data(item, (*location, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, location)

    def _scalar(self, node: Node, location: Location) -> Any:
        # While they parse the text, the constructors of YAML's own tags may raise any exception.
        self._mistakes.texts[location] = node.value
        try:
            return self._construct(node)
        except Exception:
            self._mistakes.add(location, f"{quoted(node.value)} is not of type {str(node.tag).rpartition(':')[2]}")
            return node.value

    def _mapping(self, node: Node, location: Location) -> dict[str, Any]:
        defaults: dict[str, Any] = {}
        entries: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                defaults |= self._merge(value_node, location)
                continue
            key = key_node.value if isinstance(key_node, ScalarNode) else ""
            place = (*location, key)
            if key_node.tag != "tag:yaml.org,2002:str":
                self._mistakes.add_mark(_mark(key_node), f"the key {quoted(key)} is not text")
            elif key in entries:
                self._mistakes.add_mark(_mark(key_node), f"the key {key!r} is given twice")
            else:
                self._mistakes.keys[place] = _mark(key_node)
                entries[key] = self.data(value_node, place)
                if value_node.start_mark.index == value_node.end_mark.index:  # an empty value stands where the next is
                    self._mistakes.values[place] = _mark(key_node)
        return defaults | entries

    def _merge(self, node: Node, location: Location) -> dict[str, Any]:
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        values: dict[str, Any] = {}
        for mapping in nodes:
            if not isinstance(mapping, MappingNode):
                self._mistakes.add_mark(_mark(mapping), "<< merges mappings only")
                continue
            values = self._mapping(mapping, location) | values
        return values


def _size(node: Node, sizes: dict[int, float]) -> float:
    """Return the number of values in a node with its aliases expanded; infinite for a node that holds itself."""
    if id(node) not in sizes:
        sizes[id(node)] = math.inf
        children = node.value if isinstance(node, SequenceNode) else ()
        if isinstance(node, MappingNode):
            children = [child for pair in node.value for child in pair]
        sizes[id(node)] = 1 + sum(_size(child, sizes) for child in children)
    return sizes[id(node)]


def _mark(node: Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)
